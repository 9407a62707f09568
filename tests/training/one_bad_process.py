# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""Runs of two processes of which one sees a NaN; ``torchrun`` starts it.

Writes how each run ended to ``FOLDER/RANK.json``.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import two_processes as two  # noqa: E402, I001  (finds the helpers)
import torch  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402
from runs import Losses, train  # noqa: E402

from ca2st_mm.engine import NonFiniteLossError  # noqa: E402
from ca2st_mm.engine.launch import leave_process_group  # noqa: E402


class Model(Losses):
    """Keeps the model of a run that ends with an error, too."""

    def before_train(self, runner):
        self.model = runner.model.module

    def weights(self):
        trained = (p for p in self.model.parameters() if p.requires_grad)
        return sum(p.detach().double().abs().sum().item() for p in trained)


def run(folder, name, broken, micro=1):
    """Two steps an epoch: clips 0, 2 | 1, 3 and then 4, 6 | 5, 7."""
    config = two.settings([1.0] * two.TRAINED)
    loader = config['train_dataloader']
    loader['sampler']['shuffle'] = False
    for clip in broken:
        loader['dataset'].inputs['imgs'][clip].view(-1)[0] = torch.nan
    for key in ('val_dataloader', 'val_cfg', 'val_evaluator'):
        config.pop(key)
    config['param_scheduler'] = []
    config['optim_wrapper']['accumulative_counts'] = micro
    seen, message = Model(), None
    work_dir = folder / name
    try:
        train(
            config,
            seen,
            name=name,
            work_dir=str(work_dir),
            non_finite_loss=dict(patience=2),
            checkpoint=dict(interval=99, save_last=False),
        )
    except NonFiniteLossError as error:
        message = str(error)
    return dict(
        message=message,
        steps=len(seen.values),
        losses=[str(loss) for loss in seen.values.values()],
        weights=seen.weights(),
    )


def main():
    folder = Path(sys.argv[1])
    init_default_scope('mmaction')
    torch.manual_seed(0)
    found = dict(
        second=run(folder, 'second', [1, 5]),
        in_turn=run(folder, 'in_turn', [1, 4]),
        once=run(folder, 'once', [5]),
        micro=run(folder, 'micro', [1], micro=2),
    )
    (folder / f'{two.RANK}.json').write_text(json.dumps(found))
    leave_process_group()


if __name__ == '__main__':
    main()
