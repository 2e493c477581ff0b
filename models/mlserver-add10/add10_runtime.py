"""A custom MLServer runtime: OUTPUT = INPUT + 10."""

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.errors import InferenceError
from mlserver.types import InferenceRequest, InferenceResponse


class Add10(MLModel):
    async def load(self) -> bool:
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        if [tensor.name for tensor in payload.inputs] != ["INPUT"]:
            raise InferenceError("expected exactly one tensor, INPUT")
        values = NumpyCodec.decode_input(payload.inputs[0]) + np.float32(10)
        output = NumpyCodec.encode_output("OUTPUT", values.astype(np.float32))
        return InferenceResponse(model_name=self.name, id=payload.id, outputs=[output])
