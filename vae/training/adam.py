"""Adam in PyTorch's fused kernel: on a CPU with less Python around it."""

from collections.abc import Iterable

import torch
from torch import Tensor


class HostAdam(torch.optim.Adam):
    """`torch.optim.Adam(fused=True)` for one group of weights on a CPU: the same bits.

    torch's own step sorts the weights by device and counts the updates of each one by one, which
    takes a small model half as long as the kernel.
    """

    _one = torch.ones(())  # a plain number would become a tensor anew for every weight

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Make one update of the weights that have a gradient."""
        (options,) = self.param_groups
        weights = [weight for weight in options["params"] if weight.grad is not None]
        if len(self.state) < len(weights) or hasattr(self, "found_inf"):
            super().step()  # which makes the moments, and heeds what a graphed step has found
            return
        states = [self.state[weight] for weight in weights]
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, self._one, alpha=1)
        beta1, beta2 = options["betas"]
        torch._fused_adam_(
            weights,
            [weight.grad for weight in weights],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            steps,
            lr=options["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=options["weight_decay"],
            eps=options["eps"],
            amsgrad=False,
            maximize=False,
        )


def make_adam(
    weights: Iterable[torch.nn.Parameter], learning_rate: float, device: torch.device
) -> torch.optim.Adam:
    """Adam for weights on `device`, in one fused kernel per step.

    On a GPU its learning rate is a tensor there, so that a CUDA graph of a step can read it.
    """
    if device.type != "cuda":
        return HostAdam(weights, learning_rate, fused=True)
    rate: Tensor = torch.tensor(learning_rate, device=device)
    return torch.optim.Adam(weights, rate, fused=True, capturable=True)
