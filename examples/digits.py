"""Train a digit classifier, deploy it in two formats, and classify handwritten digits over gRPC and REST.

Runs against a suite that is up (`penstock up`); `make run` starts one and runs this. The first time it trains a small
network on scikit-learn's bundled images and exports the same weights to ONNX ("digits") and to torch.export
("digits-pt2"). After that it finds its models deployed and goes straight to the classifying.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import queue
import shlex
import sys
import tempfile
import time
import urllib.request
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from penstock import Client, Tls, errors

RECIPE = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
"""Kept as a label of each version: tells whether what is deployed was made by this very program."""


def main() -> None:
    digits = load_digits()
    images = digits.data.astype(np.float32)  # 8×8 pixels from 0 (white) to 16 (black), as 64 numbers
    train, test, train_labels, test_labels = train_test_split(
        images, digits.target, test_size=450, random_state=0, stratify=digits.target
    )
    with Client() as client:
        if not (is_deployed(client, "digits") and is_deployed(client, "digits-pt2")):
            train_and_deploy(client, train, train_labels, test, test_labels)
        for model in ("digits", "digits-pt2"):
            client.wait_serving(model, client.deployment(model).versions[-1])
        gateway = Gateway(client.endpoints.gateway, client.endpoints.gateway_http, Tls.from_environ())
    draw(test[:4], ask_rest(gateway, "digits", test[:4]), test_labels[:4])
    classify_all(gateway, test, test_labels)
    show_snippets(gateway, test[0])


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where the models are served, and how to speak TLS there, if at all."""

    grpc: str
    rest: str
    tls: Tls | None

    def connect(self) -> triton.InferenceServerClient:
        if self.tls is None:
            return triton.InferenceServerClient(self.grpc)
        return triton.InferenceServerClient(self.grpc, creds=self.tls.credentials(), channel_args=self.tls.options)


def is_deployed(client: Client, model: str) -> bool:
    try:
        version = client.version(client.deployment(model).versions[-1])
    except errors.NotFoundError:
        return False
    if version.labels["recipe"] != RECIPE:
        return False
    print(f"Found {model} deployed already: {version.name}, accuracy {version.metrics['accuracy']:.1%}")
    return True


def train_and_deploy(client: Client, train: Any, train_labels: Any, test: Any, test_labels: Any) -> None:
    print("Training a small neural network on 1,347 handwritten digits …", flush=True)
    start = time.monotonic()
    network = trained(train, train_labels)
    accuracy = float((predicted(network, test) == test_labels).mean())
    print(f"  done in {time.monotonic() - start:.1f} s; it gets {accuracy:.1%} of 450 digits right that it never saw")
    with tempfile.TemporaryDirectory() as folder:
        for model, path in export(network, Path(folder)).items():
            start = time.monotonic()
            version = client.create_version(
                model,
                client.upload(path),
                is_trusted=path.suffix == ".pt2",  # torch.export files can run code while loading: this one is our own
                metrics={"accuracy": accuracy},
                labels={"recipe": RECIPE},
            )
            client.wait_validated(version.name)
            client.deploy(model, version.name)
            print(f"Deployed {path.name} as {version.name} in {time.monotonic() - start:.1f} s", flush=True)


def trained(images: Any, labels: Any) -> Any:
    import torch

    class Classifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.Sequential(
                torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Dropout(0.2), torch.nn.Linear(64, 10)
            )

        def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"probabilities": torch.softmax(self.layers(image / 16), dim=-1)}

    torch.set_num_threads(1)  # the network is too small for more
    torch.manual_seed(0)
    network = Classifier()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01, weight_decay=1e-4)
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    for _ in range(200):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network.layers(x / 16), y).backward()
        optimizer.step()
    return network.eval()


def predicted(network: Any, images: Any) -> Any:
    import torch

    with torch.inference_mode():
        return network(torch.from_numpy(images))["probabilities"].argmax(dim=1).numpy()


def export(network: Any, folder: Path) -> dict[str, Path]:
    """Write the network in two formats, with a free batch size; return the files by model name."""
    import torch

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it would miss torchvision, which nothing here needs
    onnx, pt2 = folder / "digits.onnx", folder / "digits.pt2"
    example = (torch.zeros(2, 64),)
    batch = torch.export.Dim("batch", min=1, max=1024)
    torch.export.save(torch.export.export(network, example, dynamic_shapes=({0: batch},)), str(pt2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's, about its own inner life
        torch.onnx.export(
            network,
            example,
            str(onnx),
            dynamo=True,
            opset_version=20,
            input_names=["image"],
            output_names=["probabilities"],
            dynamic_shapes=({0: batch},),
            external_data=False,
            verbose=False,
        )
    return {"digits": onnx, "digits-pt2": pt2}


def classify_all(gateway: Gateway, images: Any, labels: Any) -> None:
    """Classify every test image, by gRPC with ONNX and by REST with torch.export."""
    print(f"\nAll {len(images)} test digits, one image per request, 64 requests at a time:")
    for how, model in (("gRPC", "digits"), ("REST", "digits-pt2")):
        before, start = executions(gateway, model), time.monotonic()
        answers = ask_grpc(gateway, model, images) if how == "gRPC" else ask_rest(gateway, model, images)
        took = time.monotonic() - start
        batches = executions(gateway, model) - before
        accuracy = (answers == labels).mean()
        print(f"  {how}, {model:<10}  {accuracy:.1%} right, {took:.2f} s, joined into {batches} batches by the server")


def ask_grpc(gateway: Gateway, model: str, images: Any) -> Any:
    """The digit that each image shows, by tritonclient."""
    client, done, answers = gateway.connect(), queue.Queue[Any](), np.full(len(images), -1)

    def send(number: int) -> None:
        tensor = triton.InferInput("image", [1, 64], "FP32")
        tensor.set_data_from_numpy(images[number : number + 1])
        client.async_infer(model, [tensor], lambda result, error: done.put((number, result, error)))

    for number in range(min(64, len(images))):
        send(number)
    for sent in range(64, 64 + len(images)):
        number, result, error = done.get(timeout=60)
        if error is not None:
            raise error
        answers[number] = result.as_numpy("probabilities").argmax()
        if sent < len(images):
            send(sent)
    client.close()
    return answers


def ask_rest(gateway: Gateway, model: str, images: Any) -> Any:
    """The digit that each image shows, by plain HTTP and JSON."""
    url = f"{'https' if gateway.tls else 'http'}://{gateway.rest}/v2/models/{model}/infer"
    context = gateway.tls.context() if gateway.tls else None

    def ask(image: Any) -> int:
        body = {"inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 64], "data": image.tolist()}]}
        request = urllib.request.Request(url, json.dumps(body).encode())
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=60, context=context) as response:
            return int(np.argmax(json.load(response)["outputs"][0]["data"]))

    with ThreadPoolExecutor(64) as threads:
        return np.array(list(threads.map(ask, images)))


def executions(gateway: Gateway, model: str) -> int:
    client = gateway.connect()
    statistics = client.get_inference_statistics(model)
    client.close()
    return sum(one.execution_count for one in statistics.model_stats)


def draw(images: Any, answers: Any, labels: Any) -> None:
    print("\nFour handwritten digits that the model never saw, and what it takes them for:\n")
    for row in range(8):
        print("   ".join(shades(image[row * 8 : row * 8 + 8]) for image in images))
    words = [
        f"{answer} {'(right)' if answer == label else f'(wrong: {label})'}"
        for answer, label in zip(answers, labels, strict=True)
    ]
    print("   ".join(word.center(16) for word in words))


def shades(pixels: Any) -> str:
    return "".join(" ░▒▓█"[min(4, int(pixel) // 3)] * 2 for pixel in pixels)


def show_snippets(gateway: Gateway, image: Any) -> None:
    """Two ways to ask the model oneself; they can be pasted as they stand."""
    python = shlex.quote(
        os.path.relpath(sys.executable) if Path(sys.executable).is_relative_to(Path.cwd()) else sys.executable
    )
    pixels = ",".join(str(int(pixel)) for pixel in image)
    arguments, options, url = "", "", f"http://{gateway.rest}"
    if gateway.tls is not None:
        arguments, options, url = tls_snippets(gateway.tls, gateway.rest)
    body = f'{{"inputs":[{{"name":"image","datatype":"FP32","shape":[1,64],"data":[{pixels}]}}]}}'
    print(f"""
Ask it yourself, from another terminal in this folder. With tritonclient:

{python} - <<'END'
import sklearn.datasets, tritonclient.grpc as triton
image = triton.InferInput("image", [1, 64], "FP32")
image.set_data_from_numpy(sklearn.datasets.load_digits().data[:1].astype("float32"))
answer = triton.InferenceServerClient("{gateway.grpc}"{arguments}).infer("digits", [image])
print("That is a", answer.as_numpy("probabilities").argmax())
END

With curl (the first digit above; the answer is one probability per digit, from 0 to 9):

curl -s {options}{url}/v2/models/digits/infer -d '{body}'

Then look around: {python} -m penstock status (or watch, models, incidents, --help)""")


def tls_snippets(tls: Tls, rest: str) -> tuple[str, str, str]:
    """What tritonclient and curl need to be told for TLS, and the URL for curl."""
    files = {"root_certificates": tls.ca, "private_key": tls.key, "certificate_chain": tls.certificate}
    arguments = [f"{name}={str(path)!r}" for name, path in files.items() if path]
    options = [
        f"{option} {shlex.quote(str(path))}"
        for option, path in (("--cacert", tls.ca), ("--key", tls.key), ("--cert", tls.certificate))
        if path
    ]
    if tls.server_name:
        arguments.append(f"channel_args={tls.options!r}")
        _, _, port = rest.rpartition(":")
        options.append(f"--connect-to {tls.server_name}:{port}:{rest}")
        rest = f"{tls.server_name}:{port}"
    return (
        ", ssl=True" + "".join(f", {one}" for one in arguments),
        "".join(f"{one} " for one in options),
        f"https://{rest}",
    )


if __name__ == "__main__":
    main()
