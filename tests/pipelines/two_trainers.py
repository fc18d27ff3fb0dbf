"""One of two processes that train without Ray and without a kill; run by ``test_train``."""

import sys
from pathlib import Path

import cv2
import torch
from torch import distributed

from vgen.training.clips import load_material
from vgen.training.distributed import Group
from vgen.training.loop import Place, train
from vgen.training.settings import load_train_recipe


def main(rank: str, folder: str, recipe: str, data: str, steps: str) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    meeting = f"file://{folder}/meeting"
    distributed.init_process_group("gloo", init_method=meeting, rank=int(rank), world_size=2)
    settings = load_train_recipe(Path(recipe), {"steps": int(steps)})
    train(load_material(data), settings, Place(run_uri=f"{folder}/run", group=Group.current()))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
