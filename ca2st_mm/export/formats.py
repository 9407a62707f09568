# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""The files a traced model is written to, and how they run."""

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from ca2st_mm.utils.errors import UsageError

# Input tensors in their order -> outputs by name.
Run = Callable[[Sequence[Tensor]], dict[str, Tensor]]
METADATA = 'metadata.json'


class TorchExportFile:
    """PyTorch's own format: runs wherever PyTorch does, our code unseen."""

    suffix = '.pt2'
    packages = ()

    def write(
        self,
        program: ExportedProgram,
        path: Path,
        metadata: Mapping[str, Any],
    ) -> None:
        """Write a ``.pt2`` archive; the metadata is a file inside.

        Args:
            program: Of :func:`trace`.
            path: The file.
            metadata: Of :func:`describe`.
        """
        extra = {METADATA: json.dumps(metadata)}
        torch.export.save(program, path, extra_files=extra)

    def read(self, path: Path, device: str) -> Run:
        """Load the program; it runs on the device it was traced on."""
        with _without_warnings():
            module = torch.export.load(path).module()

        def run(streams: Sequence[Tensor]) -> dict[str, Tensor]:
            with torch.no_grad():
                return module(*(stream.to(device) for stream in streams))

        return run


class OnnxFile:
    """ONNX, for ONNX Runtime, TensorRT, OpenVINO and others."""

    suffix = '.onnx'
    packages = ('onnx', 'onnxscript', 'onnxruntime')

    def write(
        self,
        program: ExportedProgram,
        path: Path,
        metadata: Mapping[str, Any],
    ) -> None:
        """Write an ``.onnx`` file; each entry of the metadata is JSON.

        Weights of more than 2 GB are in a file next to it.

        Args:
            program: Of :func:`trace`.
            path: The file.
            metadata: Of :func:`describe`; its ``inputs`` and ``outputs``
                name the tensors.
        """
        with _without_warnings():
            onnx = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                input_names=[entry['name'] for entry in metadata['inputs']],
                output_names=[entry['name'] for entry in metadata['outputs']],
            )
        onnx.model.metadata_props.update(
            {key: json.dumps(value) for key, value in metadata.items()}
        )
        onnx.save(path)

    def read(self, path: Path, device: str) -> Run:
        """Load the file into ONNX Runtime, on a GPU where it has one."""
        import onnxruntime

        providers = ['CPUExecutionProvider']
        if device.startswith('cuda'):
            providers.insert(0, 'CUDAExecutionProvider')
            if providers[0] not in onnxruntime.get_available_providers():
                raise UsageError(
                    'ONNX Runtime here has no CUDA; pip install '
                    'onnxruntime-gpu in place of onnxruntime, or check with '
                    '--device cpu'
                )
        session = onnxruntime.InferenceSession(str(path), providers=providers)
        names = [entry.name for entry in session.get_inputs()]
        outputs = [entry.name for entry in session.get_outputs()]

        def run(streams: Sequence[Tensor]) -> dict[str, Tensor]:
            arrays = (stream.cpu().numpy() for stream in streams)
            found = session.run(None, dict(zip(names, arrays, strict=True)))
            tensors = map(torch.from_numpy, found)
            return dict(zip(outputs, tensors, strict=True))

        return run


FORMATS: dict[str, TorchExportFile | OnnxFile] = {
    'torch_export': TorchExportFile(),
    'onnx': OnnxFile(),
}


def check_packages(form: TorchExportFile | OnnxFile) -> None:
    """Raise :class:`UsageError` unless a format can be used."""
    missing = [name for name in form.packages if find_spec(name) is None]
    if missing:
        raise UsageError(
            f'{form.suffix} files need {" and ".join(missing)}; '
            f'pip install {" ".join(form.packages)}'
        )


@contextmanager
def _without_warnings() -> Iterator[None]:
    # Of PyTorch about its own exporter: nothing a user could act on.
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield
