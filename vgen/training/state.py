"""Everything a training run must remember to go on as if it had never stopped."""

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Self

import torch
from torch import Tensor, nn

from vgen.models.discriminator import ImageDiscriminator, TemporalDiscriminator
from vgen.models.generator import TemporalUNet, widen_window
from vgen.models.ladder import Vae
from vgen.training.guard import new_monitors
from vgen.training.schedule import Stage

EMA_DECAY = 0.999
BETAS = (0.9, 0.99)
CRITIC_BETAS = (0.0, 0.99)
"""Without momentum, as in R3GAN: a critic chases a target that moves."""
WEIGHT_DECAY = 1e-4

CriticKind = Literal["image", "temporal"]
Network = TemporalUNet | Vae


@dataclass(frozen=True, slots=True)
class Critic:
    """A discriminator and its optimiser."""

    network: ImageDiscriminator | TemporalDiscriminator
    optimizer: torch.optim.AdamW

    @classmethod
    def fresh(cls, kind: CriticKind, channels: int, device: torch.device) -> Self:
        """Make the critic of single frames, or that of three frames in a row."""
        made = ImageDiscriminator if kind == "image" else TemporalDiscriminator
        network = made(channels).to(device)
        return cls(network, new_optimizer(network.parameters(), betas=CRITIC_BETAS))


@dataclass(slots=True, kw_only=True)
class TrainState:
    """The networks, their optimisers and how far the run has come; changed by every step."""

    stage: Stage
    network: Network
    average: Network
    """Exponential moving average of ``network``: what gets evaluated and released."""
    optimizer: torch.optim.AdamW
    monitors: dict[str, Tensor]
    """What the guards remember; see ``guard.new_monitors``."""
    critics: dict[CriticKind, Critic] = field(default_factory=dict)
    reference: TemporalUNet | None = None
    """The pixel stage's average, once the adversarial stage has begun."""
    reference_db: float | None = None
    """Its validation PSNR."""
    step: int = 0
    stage_step: int = 0
    """Steps since the optimiser was made."""
    elapsed_s: float = 0.0

    @classmethod
    def fresh(cls, network: Network, stage: Stage) -> Self:
        """Start with ``network``, on its device, and an optimiser that has seen nothing."""
        network = _laid_out(network)
        return cls(
            stage=stage,
            network=network,
            average=frozen_copy(network),
            optimizer=new_optimizer(network.parameters(), betas=BETAS),
            monitors=new_monitors(network_device(network)),
        )

    @property
    def device(self) -> torch.device:
        """Where the networks lie."""
        return network_device(self.network)

    def widen(self, window: int) -> None:
        """Let the network look at ``window`` frames; it starts out computing the same."""
        assert isinstance(self.network, TemporalUNet)
        assert isinstance(self.average, TemporalUNet)
        device = self.device
        network = widen_window(self.network, window).to(device)
        average = widen_window(self.average, window).to(device)
        self._restart(network, "window")
        # Laid out like its network: a resumed run must round as one that never stopped.
        self.average = _laid_out(average).requires_grad_(False).eval()

    def begin_adversarial(self, channels: int, kinds: Iterable[CriticKind]) -> None:
        """Go on from the average, with critics that have seen nothing; the reference is kept."""
        assert isinstance(self.average, TemporalUNet)
        self.reference = self.average
        network = copy.deepcopy(self.average).requires_grad_(True).train()
        self._restart(network, "adversarial")
        self.average = frozen_copy(network)
        self.critics = {kind: Critic.fresh(kind, channels, self.device) for kind in kinds}

    def _restart(self, network: TemporalUNet, stage: Stage) -> None:
        skipped = self.monitors["skipped"]
        self.network = _laid_out(network)
        self.optimizer = new_optimizer(self.network.parameters(), betas=BETAS)
        self.monitors = new_monitors(self.device) | {"skipped": skipped}
        self.stage, self.stage_step = stage, 0

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield every tensor of the state by name, not copied; ``restore`` takes them back."""
        for name, network, optimizer in self._parts():
            for key, value in network.state_dict().items():
                yield f"{name}.{key}", value
            if optimizer is not None:
                for index, moments in optimizer.state_dict()["state"].items():
                    for key, value in moments.items():
                        yield f"{name}-optimizer.{index}.{key}", value
        for key, value in self.monitors.items():
            yield f"monitors.{key}", value

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what ``tensors()`` of a state of the same make yielded.

        Raises:
            KeyError, RuntimeError: a tensor is missing, unknown or misshaped.
        """
        for name, network, optimizer in self._parts():
            network.load_state_dict(_below(f"{name}.", tensors))
            if optimizer is not None:
                _restore_optimizer(optimizer, _below(f"{name}-optimizer.", tensors))
        for key, value in self.monitors.items():
            value.copy_(tensors[f"monitors.{key}"])

    def _parts(self) -> Iterator[tuple[str, nn.Module, torch.optim.Optimizer | None]]:
        yield "network", self.network, self.optimizer
        yield "average", self.average, None
        if self.reference is not None:
            yield "reference", self.reference, None
        for kind, critic in self.critics.items():
            yield f"critic-{kind}", critic.network, critic.optimizer


def new_optimizer(
    parameters: Iterable[nn.Parameter], *, betas: tuple[float, float]
) -> torch.optim.AdamW:
    """Make the optimiser of one network; fused, which lets a guard skip a step on the device."""
    return torch.optim.AdamW(parameters, betas=betas, weight_decay=WEIGHT_DECAY, fused=True)


def network_device(network: nn.Module) -> torch.device:
    """Return where the weights of ``network`` lie."""
    return next(network.parameters()).device


def frozen_copy(network: Network) -> Network:
    """Return a copy that computes and does not learn."""
    return copy.deepcopy(network).requires_grad_(False).eval()


def _laid_out(network: Network) -> Network:
    """Put 2-D networks into the layout in which their convolutions are fastest."""
    if isinstance(network, TemporalUNet):
        # torch's stubs do not know this keyword, though its documentation does.
        return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
    return network


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _restore_optimizer(optimizer: torch.optim.Optimizer, moments: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in moments.items():
        number, _, key = name.partition(".")
        state.setdefault(int(number), {})[key] = value
    groups = optimizer.state_dict()["param_groups"]
    parameters = [value for group in optimizer.param_groups for value in group["params"]]
    for index, moments_of_one in state.items():
        for key, value in moments_of_one.items():
            # The fused optimiser walks raw memory: moments must lie as their parameter does.
            if value.shape == parameters[index].shape:
                moments_of_one[key] = torch.empty_like(parameters[index]).copy_(value)
    optimizer.load_state_dict({"state": state, "param_groups": groups})
