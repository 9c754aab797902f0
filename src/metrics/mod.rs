//! Detection metrics: AUROC, average precision, F1-max.
