# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A resumed run makes up for a validation that its checkpoint did not see."""

import os.path as osp

from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from ca2st_mm.registry import HOOKS


@HOOKS.register_module()
class MissedValidationHook(Hook):
    """Validate before training goes on, if the checkpoint is from before it.

    MMEngine writes the checkpoint of an epoch (or iteration), then validates,
    and writes it once more only if the score is the best so far.  From the
    first of the two files the loop goes on with the next epoch: best score,
    best checkpoint, schedules that look at scores and, after the last epoch,
    the final number would be lost.  This hook runs the validation of such a
    file as the loop would have, with the same random numbers
    (:class:`RandomStateHook`).

    Nothing in the file tells a validation that was cut short from one that
    brought no new best, so the latter is repeated, with the same result.
    """

    # After all that prepare for training: states set, folders known.
    priority = 'LOWEST'

    def __init__(self) -> None:
        # A strategy that shows hooks no checkpoint (DeepSpeed) leaves it so.
        self.unseen = dict(epoch=True, iter=True)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note whether the file is from before the validation of its unit.

        The message hub has the epoch (iteration) that ran last, ``meta`` the
        number of those that are done; both are equal if the next had begun.
        A file that is written for a new best score says 'val'.
        """
        hub = checkpoint.get('message_hub', {}).get('runtime_info', {})
        meta = checkpoint.get('meta', {})
        training = hub.get('loop_stage') != 'val'
        self.unseen = {
            unit: training and hub.get(unit) != meta.get(unit)
            for unit in self.unseen
        }

    def before_train(self, runner: Runner) -> None:
        """Validate if it is due, and say so if nothing is left to train."""
        if runner.iter == 0:
            return
        _restore_last_checkpoint(runner)
        unit, done, total = _progress(runner)
        if self.unseen[unit] and _validation_is_due(runner):
            runner.logger.info(
                f'The checkpoint of {unit} {done} does not hold the result '
                'of its validation, which is run now'
            )
            runner.val_loop.run()
        if done >= total:
            runner.logger.info(
                f'Nothing is left to train: {unit} {done} of {total} is done. '
                f'{_best(runner)}'
            )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Count right while validating; ``FlexibleRunner`` is one ahead."""
        if runner.message_hub.get_info('loop_stage') == 'val':
            checkpoint['meta'].update(epoch=runner.epoch, iter=runner.iter)


def _progress(runner: Runner) -> tuple[str, int, int]:
    """Unit that the loop validates by, how many are done, how many to do."""
    if isinstance(runner.train_loop, EpochBasedTrainLoop):
        return 'epoch', runner.epoch, runner.max_epochs
    return 'iter', runner.iter, runner.max_iters


def _validation_is_due(runner: Runner) -> bool:
    """What the loop asks itself at the end of an epoch or iteration."""
    if runner.val_loop is None:
        return False
    # Intervals may change while training (`dynamic_intervals`).
    runner.train_loop._decide_current_val_interval()
    _, done, total = _progress(runner)
    due = done % runner.val_interval == 0 or done == total
    return due and done >= runner.val_begin


def _restore_last_checkpoint(runner: Runner) -> None:
    """Let `CheckpointHook` know its newest file; it writes a best one again.

    It forgets the name in a resumed run until it has saved.
    """
    newest = runner.message_hub.get_info('last_ckpt')
    for hook in runner.hooks:
        if newest and isinstance(hook, CheckpointHook):
            # Where it saves now; the folder may have been moved.
            hook.last_ckpt = hook.file_backend.join_path(
                hook.out_dir, osp.basename(newest)
            )


def _best(runner: Runner) -> str:
    """The best checkpoints, as far as the run has them."""
    info = runner.message_hub.runtime_info
    found = [
        f'{path} ({info[key.replace("ckpt", "score", 1)]:.4f})'
        for key, path in info.items()
        if key.startswith('best_ckpt')
    ]
    return f'Best checkpoint: {", ".join(found) or "unknown"}'
