r"""The stages of a trial and their keys: which settings determine which artefact. Imports no torch.

    ddpm ------> samples ----> fid
        \        reference --/
         \----> segmentation

A key covers the stage's name and version, the settings that it reads, its data's fingerprint and the keys of the
stages before it. So a changed default that a stage does not read invalidates nothing.
"""

from __future__ import annotations

from trainables.config import Config
from trainables.data import About
from trainables.store import hashed

# To be raised by whoever changes what a stage computes from the same settings.
VERSIONS = {"ddpm": 1, "samples": 1, "reference": 1, "fid": 2, "segmentation": 2}


def stage_keys(config: Config, about: About) -> dict[str, str]:
    """The key of each stage that the trial needs, in the order in which they run."""
    keys: dict[str, str] = {}
    from_model = "fid" in config.stages and config.sampling.source == "model"
    on_features = "segmentation" in config.stages and config.segmentation.features == "unet"
    data = [config.data.model_dump(), about.fingerprint]
    if from_model or (on_features and config.pretrained is None):
        keys["ddpm"] = _key("ddpm", config.seed, data, config.unet, config.diffusion, config.training)
    if "fid" in config.stages:
        before = keys["ddpm"] if from_model else config.seed
        keys["samples"] = _key("samples", data, before, config.sampling)
        keys["reference"] = _key("reference", data, sorted(config.fid.metrics), config.fid.reference_images)
        keys["fid"] = _key("fid", data, keys["samples"], keys["reference"], config.fid)
    if "segmentation" in config.stages:
        network: object = keys["ddpm"] if "ddpm" in keys and on_features else ""
        if on_features and config.pretrained is not None:
            network = [config.pretrained.model_dump(), config.diffusion.model_dump()]
        keys["segmentation"] = _key("segmentation", config.seed, data, network, config.segmentation)
    return keys


def trial_key(config: Config, about: About) -> str:
    """The key of the whole trial: of all that its figures depend on."""
    return hashed(stage_keys(config, about))


def checkpoint_folder(stage: str, key: str) -> str:
    """Where the checkpoints of an artefact in the making are, below the store's root."""
    return f"checkpoints/{stage}-{key}"


def _key(stage: str, *determined_by: object) -> str:
    plain = [part.model_dump() if hasattr(part, "model_dump") else part for part in determined_by]
    return hashed([stage, VERSIONS[stage], plain])
