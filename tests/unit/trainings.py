"""The specification of a training that takes a moment, on images such as those of `bars`."""

SPEC = {
    "data": {"name": "bars"},
    "model": {"name": "small", "width": 4, "mean": [0.5] * 3, "std": [0.25] * 3, "pretrained": "none"},
    "objective": [{"loss": "cross_entropy", "weight": 1}],
    "schedule": {"name": "inverse-time", "rate": 0.1, "decay": 0.01},
    "seed": 0,
    "epochs": 2,
    "batch_size": 16,
    "optimizer": {"name": "sgd", "momentum": 0.9},
    "precision": "auto",
}
