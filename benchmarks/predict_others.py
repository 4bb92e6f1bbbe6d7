"""How other programs predict from picture files to a CSV, each as its own scripts and lessons do it; run by `predict.py`.

Both load the network and its weights from our model folder, and print the seconds of their loop as JSON in the last line.
timm: as its inference.py does; the words after the folder are the pictures, the CSV, and "default" or "better" (channels
last and bf16, as with --channels-last --amp --amp-dtype bfloat16). fastai: `get_preds` of a `Learner` on a `test_dl`.
"""

TIMM = """
import csv, json, sys, time
from contextlib import suppress
import numpy as np, timm, torch
from timm.data import create_dataset, create_loader, resolve_data_config

folder, pictures, out, better = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4] == "better"
model = timm.create_model("local-dir:" + folder, pretrained=True).eval()
if better:
    model = model.to(memory_format=torch.channels_last)
autocast = (lambda: torch.autocast("cpu", torch.bfloat16)) if better else suppress
dataset = create_dataset(name="", root=pictures, split="validation")
device = torch.device("cpu")
data = resolve_data_config({}, model=model)
loader = create_loader(dataset, batch_size=256, use_prefetcher=True, num_workers=2, device=device, **data)
started, best, sure = time.perf_counter(), [], []
with torch.inference_mode():
    for pixels, _ in loader:
        with autocast():
            output = model(pixels.contiguous(memory_format=torch.channels_last) if better else pixels)
        p, k = output.softmax(-1).topk(1)
        best.append(k.numpy()), sure.append(p.float().numpy())
loop_s = time.perf_counter() - started
with open(out, "w", newline="") as file:
    write = csv.writer(file)
    write.writerow(["path", "predicted", "confidence"])
    names = dataset.filenames(absolute=True)
    write.writerows(zip(names, np.concatenate(best)[:, 0].tolist(), np.concatenate(sure)[:, 0].tolist()))
print(json.dumps({"loop_s": loop_s, "versions": {"timm": timm.__version__, "torch": torch.__version__}}))
"""

FASTAI = """
import csv, json, sys, time
from pathlib import Path
import fastai, timm, torch, PIL.Image
from fastai.vision.all import *

folder, pictures, out = sys.argv[1:4]
model = timm.create_model("local-dir:" + folder, pretrained=True)
cfg = model.pretrained_cfg
size = cfg["input_size"][-1]
kind = {"bilinear": PIL.Image.Resampling.BILINEAR, "bicubic": PIL.Image.Resampling.BICUBIC}[cfg["interpolation"]]
resize = Resize(round(size / cfg["crop_pct"]), method=ResizeMethod.Crop, resamples=(kind, PIL.Image.Resampling.NEAREST))
crop = CropPad(size)
# By itself fastai would crop before it resizes.
crop.order = resize.order + 1
files = sorted(path for path in Path(pictures).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
dls = ImageDataLoaders.from_path_func(
    pictures, files[::20], lambda path: Path(path).parent.name, valid_pct=0.5, item_tfms=[resize, crop],
    batch_tfms=Normalize.from_stats(cfg["mean"], cfg["std"]), num_workers=2)
learner = Learner(dls, model, loss_func=CrossEntropyLossFlat())
started = time.perf_counter()
with learner.no_bar():
    probabilities, _ = learner.get_preds(dl=dls.test_dl(files, num_workers=2))
loop_s = time.perf_counter() - started
sure, best = probabilities.max(1)
with open(out, "w", newline="") as file:
    write = csv.writer(file)
    write.writerow(["path", "predicted", "confidence"])
    write.writerows(zip(map(str, files), best.tolist(), sure.tolist()))
print(json.dumps({"loop_s": loop_s, "versions": {"fastai": fastai.__version__, "torch": torch.__version__}}))
"""
