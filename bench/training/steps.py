"""The steps of a method as they are carried out: checked, with optimizers, learning rates, sane gradients."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from bench.errors import BenchError, Diverged
from bench.plugin.batch import Batch
from bench.plugin.method import Adam, Method, Step
from bench.plugin.shapes import require_shape


def sanitise(gradients: list[Tensor], parameters: list[nn.Parameter], how: Adam) -> None:
    """Replace what is not finite, as in EDM: an overflow loses its value, not the run. Then clip as
    the step asks.
    """
    for gradient in gradients:
        torch.nan_to_num_(gradient, nan=0.0, posinf=1e5, neginf=-1e5)
    if how.clip_value is not None:
        nn.utils.clip_grad_value_(parameters, how.clip_value)
    if how.clip_norm is not None:
        nn.utils.clip_grads_with_norm_(parameters, how.clip_norm, nn.utils.get_total_norm(gradients))


def checked_steps(method: Method) -> list[Step]:
    """The method's steps. Raises BenchError for steps that could not be told apart or that would
    never end a budget, and for stages that do not follow one another.
    """
    steps, name = list(method.steps()), type(method).__name__
    roles = [step.role for step in steps]
    if len(set(roles)) < len(roles):
        raise BenchError(
            f"{name} has several steps of one role ({', '.join(roles)}); give each step a role of its own."
        )
    if not any(step.network is method.generator for step in steps):
        raise BenchError(
            f"no step of {name} trains its generator; one step's network must be self.generator."
        )
    if list(method.stages) != sorted({*method.stages}) or not all(0 < end < 1 for end in method.stages):
        raise BenchError(
            f"the stages of {name} begin at {list(method.stages)} of the budget; expected rising "
            "parts between 0 and 1."
        )
    if steps[0].reuse:
        raise BenchError(f"the first step of {name} reuses a batch that is not there; it needs its own.")
    return steps


def checked_loss(step: Step, batch: Batch, method: Method) -> Tensor:
    """The values of a step's loss. Raises BenchError for anything but one for each image, (N,)."""
    name = method.name or type(method).__name__
    whose = f"what the loss of the {step.role} step of method {name!r} returns"
    remedy = "return one value for each image, a sum or mean over its pixels, such as x.sum(pixels(x))"
    values = step.loss(batch)
    require_shape(values, (len(batch.z),), whose, remedy)
    return values


def optimizer_of(step: Step, capture: bool = False) -> torch.optim.Optimizer:
    """Make the optimizer of all that a step trains; to ``capture`` it, all that it knows is on the GPU."""
    o, parameters = step.optimizer, [p for module in step.modules for p in module.parameters()]
    rate = torch.tensor(o.lr, device=parameters[0].device) if capture else o.lr
    if o.rectified:
        return torch.optim.RAdam(
            parameters,
            rate,
            o.betas,
            o.eps,
            o.weight_decay,
            decoupled_weight_decay=True,
            foreach=True,
            capturable=capture,
        )
    return torch.optim.AdamW(
        parameters,
        rate,
        betas=o.betas,
        eps=o.eps,
        weight_decay=o.weight_decay,
        fused=True,
        capturable=capture,
    )


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimizer its saved state, whose names are ``INDEX.NAME`` for each parameter's."""
    indices = {int(name.partition(".")[0]) for name in tensors}
    saved = {i: below(str(i), tensors) for i in sorted(indices)}
    optimizer.load_state_dict({"state": saved, "param_groups": optimizer.state_dict()["param_groups"]})


def below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix`` and a dot, by the rest of their names."""
    return {n.removeprefix(f"{prefix}."): t for n, t in tensors.items() if n.startswith(f"{prefix}.")}


def require_finite_weights(steps: Sequence[Step], updates: int) -> None:
    """Raise Diverged for a step that trains a weight which is not finite, after so many updates."""
    for step in steps:
        if not all(p.isfinite().all() for module in step.modules for p in module.parameters()):
            raise Diverged(
                f"training diverged: the weights of the {step.role} step are not finite after update "
                f"{updates:,}; give smaller learning rates by --set."
            )


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate, in place where it is a tensor, which a recorded update reads."""
    (group,) = optimizer.param_groups
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def learning_rate(adam: Adam, updates: int, left: float, decay: float) -> float:
    """Return the learning rate after so many updates of a stage, of which a part ``left`` is left: after
    its warm-up, and before its fall over the last part ``decay``.
    """
    rate = adam.lr
    if adam.warmup_updates:
        rate *= min(1.0, (updates + 1) / adam.warmup_updates)
    return rate * min(1.0, left / decay) if decay else rate
