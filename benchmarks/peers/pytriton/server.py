"""Serve models: GRPC-PORT HTTP-PORT METRICS-PORT NAME..."""

import sys

import bench_models
import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


def inference_of(name):
    run = bench_models.load(name)

    @batch
    def infer(input0):
        return [run(input0)]

    return infer


if __name__ == "__main__":
    grpc_port, http_port, metrics_port = map(int, sys.argv[1:4])
    with Triton(config=TritonConfig(grpc_port=grpc_port, http_port=http_port, metrics_port=metrics_port)) as triton:
        for name in sys.argv[4:]:
            shape, shape_out = bench_models.SHAPES[name]
            triton.bind(
                model_name=name,
                infer_func=inference_of(name),
                inputs=[Tensor(name="input0", dtype=np.float32, shape=shape)],
                outputs=[Tensor(name="output0", dtype=np.float32, shape=shape_out)],
                config=ModelConfig(
                    max_batch_size=bench_models.MAX_BATCH, batcher=DynamicBatcher(max_queue_delay_microseconds=0)
                ),
            )
        triton.serve()
