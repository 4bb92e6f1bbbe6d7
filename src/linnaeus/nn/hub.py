"""Published weights from timm's hub: fetched once, then taken from the cache."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import constants, try_to_load_from_cache
from safetensors import SafetensorError
from timm.models import get_pretrained_cfg
from torch import nn

from linnaeus.errors import DownloadError, ModelError
from linnaeus.nn.head import head_parameters
from linnaeus.nn.weights import LoadedWeights

_PATIENCE_S = 10
_NETWORK_PACKAGES = ("huggingface_hub", "httpx", "httpx2", "httpcore", "requests", "urllib3")


def build_from_hub(name: str, arguments: Mapping[str, Any], *, pretrained: bool = True) -> nn.Module:
    """Build a timm network with its published weights; a head for other classes stays random.

    Args:
        name: timm's name, or one with "hf-hub:" or "local-dir:" before it.
        arguments: For `timm.create_model`.
        pretrained: Else the hub or folder is only asked what the network is, and it starts at random.

    Raises:
        DownloadError: Neither cached nor to be had.
        ModelError: The network cannot be built so, or the weights do not fit.
    """
    cfg = get_pretrained_cfg(name) if ":" not in name else None
    address, cached = _address(name, cfg), _cached_file(name, cfg)
    # The hub's client tries for most of a minute before it gives up: ask once, shortly, whether anybody is there.
    if address and cached is None and not _answers(address):
        raise _download_error(name, address, "no answer")
    overlay = {"file": str(cached), "custom_load": cfg.custom_load} if cached and cfg else None
    try:
        return timm.create_model(name, pretrained=pretrained, pretrained_cfg_overlay=overlay, **arguments)
    except SafetensorError as error:
        raise DownloadError(
            f"the weights of {name} should be a whole safetensors file.",
            got=str(error),
            fix=f"delete {_cached_file(name, cfg) or 'it'} and try again.",
        ) from error
    except Exception as error:
        from_network = isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _NETWORK_PACKAGES
        if address and from_network:
            raise _download_error(name, address, str(error).split("\n")[0]) from error
        rule = f"network {name} should take its published weights and these arguments."
        raise ModelError(rule, got=str(error), fix="check model.name and model.options.") from error


def published_report(network: Any, name: str) -> LoadedWeights:
    """Say what `build_from_hub` took over from the published weights."""
    cfg = network.pretrained_cfg
    head = () if network.num_classes == cfg["num_classes"] else head_parameters(network)
    loaded = tuple(key for key in network.state_dict() if key not in head)
    source = name if ":" in name else str(cfg.get("hf_hub_id") or cfg.get("url"))
    return LoadedWeights(source=source, loaded=loaded, dropped=head, missing=head)


def _address(name: str, cfg: Any) -> str:
    """Say where the weights lie, as an address that a browser opens; "" for a local folder."""
    if name.startswith("local-dir:"):
        return ""
    if cfg is not None and not cfg.hf_hub_id:
        return str(cfg.url)
    return f"{constants.ENDPOINT}/{cfg.hf_hub_id if cfg is not None else name.partition(':')[2]}"


def _cached_file(name: str, cfg: Any) -> Path | None:
    if cfg is None:
        repository, files = name.partition(":")[2], ["config.json"]
    elif cfg.hf_hub_id:
        repository = cfg.hf_hub_id
        files = [cfg.hf_hub_filename] if cfg.hf_hub_filename else ["model.safetensors", "pytorch_model.bin"]
    else:
        cached = Path(torch.hub.get_dir()) / "checkpoints" / str(cfg.url).rpartition("/")[2]
        return cached if cached.is_file() else None
    repository, _, revision = repository.partition("@")
    for file in files if not name.startswith("local-dir:") else ():
        found = try_to_load_from_cache(repository, file, cache_dir=constants.HF_HUB_CACHE, revision=revision or None)
        if isinstance(found, str):
            return Path(found)
    return None


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=_PATIENCE_S).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def _download_error(name: str, address: str, got: str) -> DownloadError:
    return DownloadError(
        f"the weights of {name} should be fetched from {address or name}.",
        got=got,
        fix="fetch model.safetensors there (or the file itself) on another machine and pass --set model.weights=FILE; "
        "or --set model.weights=none to start from random numbers.",
    )
