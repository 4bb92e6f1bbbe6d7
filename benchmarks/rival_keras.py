"""The first CIFAR-10 lesson of Keras, as it is taught, in Keras' own environment; benchmarks/cifar10.py calls it.

    python rival_keras.py FOLDER EPOCHS

FOLDER holds CIFAR-10 in its binary layout. Prints one JSON line per epoch: seconds and processor seconds since the process
began, without those that looking at the test set took, and accuracy on the test set.
"""

import time

# What follows is loaded late on purpose (E402): loading counts.
STARTED = time.time()

import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras  # noqa: E402
import numpy as np  # noqa: E402


def main(folder: Path, epochs: int) -> None:
    x, y = read([folder / f"data_batch_{number}.bin" for number in range(1, 6)])
    x_test, y_test = read([folder / "test_batch.bin"])
    keras.utils.set_random_seed(0)
    layers = keras.layers
    stages = [
        one
        for filters in (32, 64, 128)
        for one in (layers.Conv2D(filters, 3, padding="same", activation="relu"), layers.MaxPooling2D())
    ]
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            *stages,
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    looking = np.zeros(2)

    def look(epoch: int, _logs: object) -> None:
        before = clocks()
        accuracy = model.evaluate(x_test, y_test, batch_size=500, verbose=0)[1]
        seconds, processor = before - looking
        looking[:] += clocks() - before
        told = {"epoch": epoch + 1, "seconds": seconds, "processor": processor, "accuracy": accuracy}
        print(json.dumps(told), flush=True)

    watch = keras.callbacks.LambdaCallback(on_epoch_end=look)
    model.fit(x, y, epochs=epochs, batch_size=64, validation_split=0.2, verbose=0, callbacks=[watch])


def clocks() -> np.ndarray:
    return np.array([time.time() - STARTED, sum(os.times()[:4])])


def read(paths: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    rows = np.concatenate([np.fromfile(path, dtype=np.uint8).reshape(-1, 3073) for path in paths])
    return rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).astype("float32") / 255, rows[:, 0]


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
