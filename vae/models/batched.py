"""One network's layers with the weights of several: their products as batched ones.

Shape suffixes: T networks, B images of all of them, one network's after the other's, K samples of
each; X whatever layers take or give.
"""

from torch import Tensor, nn
from torch.func import functional_call, vmap


class Batched(nn.Module):
    """One side of a network with the weights of several, each for its part of a batch."""

    def __init__(self, layers: nn.Module, networks: int, samples: int = 1) -> None:
        super().__init__()
        self.layers, self.networks, self.samples = layers, networks, samples
        self.weights = dict[str, Tensor]()  # by name, [T, ...]

    def forward(self, given_X: Tensor) -> Tensor:
        """Of K * B vectors or images to as many."""
        whole = (self.samples, self.networks, -1, *given_X.shape[1:])
        given_TX = given_X.reshape(whole).movedim(1, 0).flatten(1, 2)
        found_TX = vmap(self.run)(self.weights, given_TX)
        apart = (self.networks, self.samples, -1, *found_TX.shape[2:])
        return found_TX.reshape(apart).movedim(0, 1).flatten(0, 2)

    def run(self, weights: dict[str, Tensor], given_X: Tensor) -> Tensor:
        """The layers with one network's weights."""
        found: Tensor = functional_call(self.layers, weights, (given_X,))
        return found
