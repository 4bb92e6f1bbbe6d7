"""Documents such as later verbs leave in results/VERB.json, made from predictions alone, for the tests of the report."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from linnaeus.metrics import apply_temperature, reliability, score, wilson
from linnaeus.records import Estimate, Predictions

CORRUPTIONS = {
    "noise": ("gaussian noise", "shot noise", "impulse noise"),
    "blur": ("defocus blur", "glass blur", "motion blur", "zoom blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic transform", "pixelate", "jpeg compression"),
}
DETECTORS = ("energy", "max-logit", "mahalanobis", "nearest neighbours")


def made_results(judged: Predictions) -> dict[str, dict]:
    """Make every document that the report draws, explanations without their pictures."""
    judged = judged.known()
    return {
        "calibration": calibration(judged),
        "abstention": abstention(judged),
        "ranking": ranking(judged),
        "slices": slices(judged),
        "explain": explain(judged),
        "stress": stress(judged),
        "export": export(judged),
        "compress": compress(judged),
    }


def share(value: float, n: int) -> dict:
    return asdict(wilson(round(value * n), n))


def near(value: float, half: float = 0.02, n: int = 400) -> dict:
    return asdict(Estimate(value, max(value - half, 0.0), min(value + half, max(value, 1.0)), n, "bootstrap"))


def calibration(judged: Predictions) -> dict:
    blunt = Predictions(
        apply_temperature(np.log(judged.probabilities + 1e-12), 2.1), judged.labels, judged.ids, judged.classes
    )
    sides = {}
    for side, one in (("before", blunt), ("after", judged)):
        overall = score(one, resamples=20).overall
        sides[side] = {name: asdict(overall[key]) for name, key in (("log_loss", "log_loss"), ("ece", "ece"))}
        sides[side] |= {"ece_debiased": near(0.9 * overall["ece"].value, 0.01), "classwise_ece": near(0.012, 0.004)}
        sides[f"bins_{side}"] = [asdict(one) for one in reliability(one)]
    return {
        "chosen": "temperature",
        "tried": {"temperature": 0.214, "vector": 0.219, "isotonic": 0.233},
        "part": "test",
        **sides,
    }


def abstention(judged: Predictions) -> dict:
    confidence, wrong = judged.confidence, judged.predicted != judged.labels
    N, curve = len(judged), []
    for n in np.unique(np.linspace(max(1, N // 20), N, min(200, N)).astype(int)):
        rows = np.argsort(-confidence, kind="stable")[:n]
        risk = wilson(int(wrong[rows].sum()), int(n))
        point = {"coverage": n / N, "risk": risk.value, "low": risk.low, "high": risk.high}
        curve.append(point | {"threshold": float(confidence[rows[-1]])})
    kept = {"threshold": 0.93, "possible": True, "coverage": share(0.78, N), "error": share(0.0, N), "why": "holds"}
    lost = {"threshold": None, "possible": False, "coverage": None, "error": None, "why": "too few validation pictures"}
    classwise = {name: share(0.9 - 0.01 * (k % 7), 80) for k, name in enumerate(judged.classes)}
    one_set = {
        "alpha": 0.1,
        "coverage": share(0.91, N),
        "size": near(1.07),
        "singletons": share(0.92, N),
        "classwise": classwise,
    }
    outliers = ("cifar10", "noise", "blank")
    return {
        "curve": curve,
        "aurc": near(0.012, 0.004),
        "promises": [
            {"max_error": 0.01, "confidence_level": 0.95, **lost},
            {"max_error": 0.05, "confidence_level": 0.95, **kept},
        ],
        "sets": [{"method": method, **one_set} for method in ("LAC", "APS", "RAPS")],
        "unknown": {
            "detectors": [{"name": name, "auroc": {one: near(0.95) for one in outliers}} for name in DETECTORS],
            "chosen": "nearest neighbours",
            "threshold": 0.41,
            "false_alarms": share(0.05, N),
            "detected": {one: share(0.83, 500) for one in outliers},
        },
    }


def ranking(judged: Predictions) -> dict:
    from sklearn.metrics import auc, precision_recall_curve, roc_curve

    found = []
    for k, name in enumerate(judged.classes):
        true = judged.labels == k
        if not true.any() or true.all():
            continue
        if k >= 100:  # Made up as well: a thousand curves take long.
            found.append(found[-1] | {"name": name})
            continue
        fpr, tpr, _ = roc_curve(true, judged.probabilities[:, k])
        precision, recall, _ = precision_recall_curve(true, judged.probabilities[:, k])
        picked = [np.unique(np.linspace(0, len(one) - 1, 60).astype(int)) for one in (fpr, recall)]
        curves = {
            "roc": np.stack([fpr, tpr], 1)[picked[0]].round(4).tolist(),
            "precision_recall": np.stack([recall, precision], 1)[picked[1]].round(4).tolist(),
        }
        found.append(
            {"name": name, "auroc": near(float(auc(fpr, tpr)), 0.01), "average_precision": near(0.93, 0.02), **curves}
        )
    return {"classes": found, "macro_auroc": near(0.985, 0.01), "macro_average_precision": near(0.95, 0.02)}


def slices(judged: Predictions) -> dict:
    wrong = [judged.ids[row] for row in np.flatnonzero(judged.predicted != judged.labels)[:12]]
    kinds = (
        "brightness 0.02 to 0.21",
        "width 120 to 240 px",
        "sharpness 0.91 to 1.4",
        "folder roses/2015",
        "camera Nikon",
    )
    found = [
        {
            "trait": what.split()[0], "what": what, "n": 60 + 9 * k, "accuracy": share(0.8 + 0.03 * k, 60 + 9 * k),
            "rest": share(0.94, 330), "difference": asdict(Estimate(0.03 * k - 0.14, 0.03 * k - 0.19, 0.03 * k - 0.09, 60 + 9 * k, "newcombe")), "p": 0.0004 * 9**k,
            "p_adjusted": min(1.0, 0.004 * 9**k), "worse": k == 0, "ids": wrong,
        }
        for k, what in enumerate(kinds)
    ]  # fmt: skip
    return {"tested": 48, "correction": "Holm", "slices": found}


def explain(judged: Predictions, maps: dict[str, str] | None = None) -> dict:
    right = judged.predicted == judged.labels
    least = np.argsort(judged.confidence, kind="stable")[:2]
    rows = {"right": np.flatnonzero(right)[:2], "wrong": np.flatnonzero(~right)[:3], "least certain": least}
    checks = {
        name: {"randomisation": near(same, 0.03), "deletion": near(0.21), "insertion": near(0.74), "seconds": 0.08}
        for name, same in (("Grad-CAM", 0.06), ("integrated gradients", 0.31), ("LIME", 0.12))
    }
    pictures = [
        {
            "id": judged.ids[row], "kind": kind, "label": judged.classes[judged.labels[row]],
            "predicted": judged.classes[judged.predicted[row]], "confidence": float(judged.confidence[row]),
            "maps": maps or {"Grad-CAM": "pictures/explain/none.png"},
            "neighbours": [{"id": judged.ids[0], "label": judged.classes[judged.labels[0]], "similarity": 0.87}],
        }
        for kind, some in rows.items()
        for row in some
    ]  # fmt: skip
    return {"methods": list(checks), "believe": "Grad-CAM", "checks": checks, "pictures": pictures}


def stress(judged: Predictions) -> dict:
    N = min(len(judged), 200)
    clean = float((judged.predicted == judged.labels).mean())
    corruptions = [
        {
            "kind": kind,
            "group": group,
            "accuracy": [share(clean * (1 - 0.03 * (g + 1) * (s + 1) * (1 + 0.2 * k) / 1.5), N) for s in range(5)],
        }
        for g, (group, kinds) in enumerate(CORRUPTIONS.items())
        for k, kind in enumerate(kinds)
    ]
    return {
        "pictures": N,
        "clean": share(clean, N),
        "corruptions": corruptions,
        "mean_corruption_accuracy": share(0.7 * clean, N),
        "mce": near(0.41),
        "weakest": "jpeg compression",
        "shifts": [
            {
                "kind": "rotation",
                "strengths": [5, 15],
                "unit": "degrees",
                "flips": [share(0.03, N), share(0.09, N)],
                "accuracy": [share(0.9, N), share(0.85, N)],
            }
        ],
        "attacks": [{"name": "PGD", "norm": "Linf", "radius": 4 / 255, "accuracy": share(0.02, N), "steps": 20}],
        "patches": [{"name": "patch", "norm": "", "radius": 0.1, "accuracy": share(0.4, N), "steps": 50}],
        "certified": [{"radius": r, "accuracy": share(0.8 - r, 100), "sigma": 0.25} for r in (0.0, 0.25, 0.5)],
    }


def export(judged: Predictions) -> dict:
    N = len(judged)
    right = float((judged.predicted == judged.labels).mean())

    def file(name: str, title: str, precision: str, difference: float, ms: float, mb: float, **proof) -> dict:
        exact = precision == "float32"
        proved = {
            "pictures": N, "tested": N, "largest_difference": difference, "agreement": share(1.0 if exact else 0.985, N),
            "accuracy": share(right if exact else 0.99 * right, N), "accuracy_before": share(right, N),
            "difference": near(0.0, 0.004, N) if exact else asdict(Estimate(-0.009, -0.018, 0.001, N, "tango")), "limit": 1e-4 if exact else None,
            "why_failed": "", "passed": True, **proof,
        }  # fmt: skip
        speed = {
            "load_s": 0.3, "p50_ms": ms, "p95_ms": 1.2 * ms, "p99_ms": 1.5 * ms, "rounds": 200, "threads": 1, "calls": 2,
            "per_second": 2400 / ms, "batch": 16, "by_batch": {"1": 1000 / ms, "16": 2400 / ms},
            "size_bytes": round(1e6 * mb), "memory_bytes": 120_000_000,
        }  # fmt: skip
        path = f"run/exports/{name}/{name}.file"
        head = {"target": name, "title": title, "precision": precision, "why_not_here": "", "path": path}
        return head | {"proof": proved, "speed": speed}

    failed = {"why_failed": "a probability differs by 0.21; 0.0001 is allowed", "passed": False}
    coreml = file("coreml", "Core ML", "float32", 0.0, 1.0, 13.4) | {"why_not_here": "Core ML runs on macOS only"}
    del coreml["proof"], coreml["speed"]
    files = {
        "onnx": file("onnx", "ONNX", "float32", 2.3e-6, 4.52, 13.6),
        "openvino": file("openvino", "OpenVINO", "float32", 1.9e-6, 4.31, 13.5),
        "litert": file("litert", "LiteRT", "int8", 0.11, 1.92, 3.9),
        "tfjs": file("tfjs", "TensorFlow.js", "float32", 0.21, 31.0, 13.5, **failed),
        "coreml": coreml,
    }
    return {"pictures": N, "outputs": ["probabilities"], "files": files}


def compress(judged: Predictions) -> dict:
    N = len(judged)
    right = float((judged.predicted == judged.labels).mean())
    tried = (
        # name, steps, runtime, ms, MB, millions of multiply-adds, loss, verdict, front
        ("int8", ["int8, 2 layers kept in float"], "OpenVINO", 1.71, 3.9, 374, 0.001, "passed", True),
        ("pruned, int8", ["half of the multiply-adds pruned", "int8"], "OpenVINO", 1.02, 2.1, 187, 0.004, "passed", True),
        ("pruned", ["half of the multiply-adds pruned"], "ONNX", 2.48, 7.2, 187, 0.006, "passed", False),
        ("distilled", ["distilled into mobilenetv3_small"], "OpenVINO", 0.61, 6.1, 56, 0.03, "worse", True),
        ("distilled, int8", ["distilled into mobilenetv3_small", "int8"], "ONNX", 0.74, 1.7, 56, 0.41, "worse", False),
        ("weights", ["8-bit weights"], "ONNX", 4.6, 3.8, 374, 0.009, "not shown", False),
    )  # fmt: skip

    def row(name: str, steps: list[str], title: str, ms: float, mb: float, millions: int, loss: float) -> dict:
        return {
            "name": name, "steps": steps, "runtime": title.lower(), "title": title, "path": f"run/compressed/{name}",
            "precision": "int8" if "int8" in name else "float32", "multiply_adds": millions * 10**6,
            "parameters": round(1e6 * mb / 4), "size_bytes": round(1e6 * mb), "p50_ms": ms, "p95_ms": 1.2 * ms,
            "per_second": 2400 / ms, "faster": 4.31 / ms, "smaller": 13.5 / mb, "accuracy": share(right - loss, N),
            "ece": near(0.02, 0.01, N), "log_loss": near(0.22, 0.03, N),
        }  # fmt: skip

    candidates = [
        row(*one[:7])
        | {"difference": asdict(Estimate(-one[6], -one[6] - 0.003, 0.003 - one[6], N, "tango"))}
        | {"verdict": one[7], "why": f"it loses {100 * one[6]:.1f} points", "front": one[8]}
        for one in tried
    ]
    return {
        "target": {"latency": 2.0, "size": None}, "max_drop": 0.01, "pictures": N, "confidence_level": 1 - 0.1 / 6,
        "candidates": candidates,
        "original": row("original", [], "OpenVINO", 4.31, 13.5, 374, 0.0) | {"difference": None},
        "chosen": "pruned, int8", "why": "the fastest of 3 that passed",
    }  # fmt: skip
