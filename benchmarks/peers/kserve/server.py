"""Serve the models that are named on the command line."""

import argparse

import bench_models
from kserve import InferOutput, InferResponse, Model, ModelServer, model_server


class Served(Model):
    def __init__(self, name):
        super().__init__(name)
        self._run = bench_models.load(name)
        self.ready = True

    def predict(self, payload, headers=None, response_headers=None):
        rows = self._run(payload.inputs[0].as_numpy())
        output = InferOutput("output0", list(rows.shape), "FP32")
        output.set_data_from_numpy(rows, binary_data=True)
        return InferResponse(payload.id, self.name, [output])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[model_server.parser], conflict_handler="resolve")
    parser.add_argument("models", nargs="+")
    arguments = parser.parse_args()
    server = ModelServer(http_port=arguments.http_port, grpc_port=arguments.grpc_port, workers=1)
    server.start([Served(name) for name in arguments.models])
