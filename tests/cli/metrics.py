"""Metrics of scores by scikit-learn, and AUPRO by its definition. Reads cases and prints figures,
one JSON object a line.
"""

import json
import sys

import numpy as np
from scipy.ndimage import label
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    precision_recall_curve,
    precision_recall_fscore_support,
    roc_auc_score,
)


def of_frames(normal, anomalous):
    truth = np.r_[np.zeros(len(normal)), np.ones(len(anomalous))]
    scores = np.r_[normal, anomalous]
    precision, recall, thresholds = precision_recall_curve(truth, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    best = thresholds[np.flatnonzero(f1[:-1] >= f1[:-1].max() - 1e-12)]
    at = scores >= best.max()
    p, r, f, _ = precision_recall_fscore_support(truth, at, average="binary", zero_division=0)
    return {
        "auroc": roc_auc_score(truth, scores),
        "partial": roc_auc_score(truth, scores, max_fpr=0.1),
        "average_precision": average_precision_score(truth, scores),
        "f1": f,
        "f1_threshold": best.max(),
        "precision": p,
        "recall": r,
        "confusion": confusion_matrix(truth, at, labels=[0, 1]).ravel().tolist(),
    }


def aupro(maps, masks, most):
    background = np.concatenate([m[~k] for m, k in zip(maps, masks)])
    regions = []
    for scores, mask in zip(maps, masks):
        parts, count = label(mask, structure=np.ones((3, 3)))
        regions += [scores[parts == number] for number in range(1, count + 1)]
    points = [(0.0, 0.0)]
    for threshold in np.unique(np.concatenate([m.ravel() for m in maps]))[::-1]:
        x = np.mean(background >= threshold)
        points.append((x, np.mean([np.mean(part >= threshold) for part in regions])))
    area = 0.0
    for (x1, y1), (x2, y2) in zip(points, points[1:]):
        if x2 > most:
            if x1 < most:
                y2 = y1 + (y2 - y1) * (most - x1) / (x2 - x1)
                area += (most - x1) * (y1 + y2) / 2
            break
        area += (x2 - x1) * (y1 + y2) / 2
    return area / most


def of_pixels(maps, masks):
    maps = [np.array(m, dtype=np.float32) for m in maps]
    masks = [np.array(m, dtype=bool) for m in masks]
    truth = np.concatenate([m.ravel() for m in masks])
    scores = np.concatenate([m.ravel() for m in maps])
    return {
        "auroc": roc_auc_score(truth, scores),
        "aupro": aupro(maps, masks, 0.3),
        "aupro_5": aupro(maps, masks, 0.05),
    }


for line in sys.stdin:
    case = json.loads(line)
    figures = of_frames(case["normal"], case["anomalous"])
    figures["pixels"] = of_pixels(case["maps"], case["masks"])
    print(json.dumps(figures))
