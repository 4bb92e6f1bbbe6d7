"""Linnaeus from Python: train, look at the scores, ask for names and probabilities.

python examples/python_api.py
"""

from sklearn.datasets import load_digits

import linnaeus


def main() -> None:
    """Train for a moment on the embedded digits, and name three of them."""
    run = linnaeus.train("digits", epochs=3)
    accuracy = run.scores("test").overall["accuracy"]
    print(f"accuracy {accuracy.percent()} on {accuracy.n} test pictures; report: {run.report_path}")

    classifier = linnaeus.load(run.folder)
    digits = [(16 * image).clip(0, 255).astype("uint8") for image in load_digits().images[:3]]
    print(classifier.predict(digits))
    print(classifier.predict_proba(digits).round(3))


if __name__ == "__main__":
    main()
