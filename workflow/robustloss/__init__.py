"""Train, attack and audit image classifiers whose losses claim adversarial robustness."""
