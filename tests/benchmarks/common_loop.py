"""The training loop that people write: the opponent of the engine's benchmark, in good faith.

DataLoader over PIL images with ToTensor, an eager float32 model, binary cross-entropy on grey
levels, Adam with its defaults.
"""

from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ToTensor


class Pictures(Dataset[Tensor]):
    """Images as torchvision's MNIST gives them: one PIL picture at a time, then the transform."""

    def __init__(self, images_NHW: Tensor) -> None:
        self.images_NHW, self.transform = images_NHW, ToTensor()

    def __len__(self) -> int:
        return len(self.images_NHW)

    def __getitem__(self, index: int) -> Tensor:
        picture: Tensor = self.transform(Image.fromarray(self.images_NHW[index].numpy()))
        return picture


class Dense(nn.Module):
    """784-400-20 and back."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.mu, self.logvar = (
            nn.Linear(784, 400),
            nn.Linear(400, 20),
            nn.Linear(400, 20),
        )
        self.widen, self.out = nn.Linear(20, 400), nn.Linear(400, 784)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = F.relu(self.hidden(x.view(-1, 784)))
        mu, logvar = self.mu(h), self.logvar(h)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        return torch.sigmoid(self.out(F.relu(self.widen(z)))), mu, logvar


class Convolutional(nn.Module):
    """Two strided convolutions, dense heads, and the mirror image back."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 4, 2, 1), nn.Conv2d(32, 64, 4, 2, 1)
        self.hidden, self.mu, self.logvar = (
            nn.Linear(3136, 256),
            nn.Linear(256, 20),
            nn.Linear(256, 20),
        )
        self.widen, self.spread = nn.Linear(20, 256), nn.Linear(256, 3136)
        self.back1, self.back2 = (
            nn.ConvTranspose2d(64, 32, 4, 2, 1),
            nn.ConvTranspose2d(32, 1, 4, 2, 1),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = F.relu(self.conv2(F.relu(self.conv1(x))))
        h = F.relu(self.hidden(h.flatten(1)))
        mu, logvar = self.mu(h), self.logvar(h)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        h = F.relu(self.spread(F.relu(self.widen(z)))).view(-1, 64, 7, 7)
        return torch.sigmoid(self.back2(F.relu(self.back1(h)))).flatten(1), mu, logvar


def epoch_of(
    kind: str, images_NCHW: Tensor, batch_size: int, device: torch.device
) -> Callable[[], None]:
    """One epoch of the common loop over uint8 images, as a function to time."""
    model = {"ImprovedVAE": Dense, "ConvVAE": Convolutional}[kind]().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = DataLoader(Pictures(images_NCHW[:, 0].cpu()), batch_size=batch_size, shuffle=True)

    def epoch() -> None:
        total = 0.0
        for batch in loader:
            x = batch.to(device)
            optimizer.zero_grad()
            pixels, mu, logvar = model(x)
            error = F.binary_cross_entropy(pixels, x.flatten(1), reduction="sum")
            kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
            loss = error + kl
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
            optimizer.step()

    return epoch
