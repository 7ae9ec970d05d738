"""The floor of one training step: its bare products and its optimiser's traffic, nothing else."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vae.models.layers import FoldedConvTranspose2d
from vae.models.networks import VAE
from vae.training.cuda_graph import WARM_UP_STEPS, capture

Product = Callable[[], object]


def step_of(model: VAE, batch_size: int, dtype: torch.dtype) -> Callable[[], None]:
    """Every matrix product and convolution of forward and backward once, then fused Adam.

    Products run in `dtype` on tensors that are there already; the optimiser in the weights' type.
    On a GPU all of it is one CUDA graph, as the engine's step is.
    """
    work = products(model, batch_size, dtype)
    parameters = list(model.parameters())
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    device = parameters[0].device
    optimizer = torch.optim.Adam(parameters, fused=True, capturable=device.type == "cuda")

    @torch.no_grad()
    def step() -> None:
        for product in work:
            product()
        optimizer.step()

    for _ in range(WARM_UP_STEPS):
        step()
    replay = capture(step, device)

    def floor_step(_: object = step) -> None:  # keeps what the graph reads
        replay()

    return floor_step


def products(model: VAE, batch_size: int, dtype: torch.dtype) -> list[Product]:
    """The products of each layer, found by passing a batch through the model."""
    found: list[Product] = []
    first = [True]

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        x, gradient = inputs[0].to(dtype), torch.randn_like(output, dtype=dtype)
        if isinstance(layer, nn.Linear):
            found.extend(dense(layer, x, gradient, backward_to_input=not first[0]))
        elif isinstance(layer, FoldedConvTranspose2d) and not x.is_cuda:
            found.extend(folded(layer, x))
        else:
            found.extend(convolution(layer, x, gradient, backward_to_input=not first[0]))
        first[0] = False

    kinds = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
    layers = [layer for layer in model.modules() if isinstance(layer, kinds)]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    device = next(model.parameters()).device
    with torch.no_grad():
        model(
            torch.rand(batch_size, *model.shape, device=device),
            torch.randn(1, batch_size, model.latent_dim, device=device),
        )
    for hook in hooks:
        hook.remove()
    return found


def dense(
    layer: nn.Linear, x: Tensor, gradient: Tensor, *, backward_to_input: bool
) -> list[Product]:
    """Forward, gradient of the weights, and of the input where something is behind it."""
    weight = layer.weight.detach().to(dtype=x.dtype)
    forward_and_weights: list[Product] = [lambda: x @ weight.t(), lambda: gradient.t() @ x]
    return [*forward_and_weights, *([lambda: gradient @ weight] if backward_to_input else [])]


def folded(layer: FoldedConvTranspose2d, x: Tensor) -> list[Product]:
    """As `dense`, for a transposed convolution's taps at every pixel; without their sum."""
    pixels, weight = x.permute(0, 2, 3, 1).flatten(0, 2), layer.weight.detach().to(x.dtype)
    gradient = torch.randn_like(pixels @ weight.flatten(1))
    return [
        lambda: pixels @ weight.flatten(1),
        lambda: pixels.t() @ gradient,
        lambda: gradient @ weight.flatten(1).t(),
    ]


def convolution(
    layer: nn.Module, x: Tensor, gradient: Tensor, *, backward_to_input: bool
) -> list[Product]:
    """As `dense`, for a convolution or a transposed one, channels innermost."""
    assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    assert not isinstance(layer.padding, str)
    weight = layer.weight.detach().to(dtype=x.dtype)
    transposed = isinstance(layer, nn.ConvTranspose2d)
    x, gradient = (t.contiguous(memory_format=torch.channels_last) for t in (x, gradient))
    geometry = (layer.stride, layer.padding, layer.dilation, transposed, (0, 0), 1)
    wanted = (backward_to_input, True, False)
    return [
        lambda: torch.ops.aten.convolution(x, weight, None, *geometry),
        lambda: torch.ops.aten.convolution_backward(gradient, x, weight, None, *geometry, wanted),
    ]
