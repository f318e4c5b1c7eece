"""Train a classifier of handwritten digits from `.npy` objects below one URI.

    python examples/train_from_store.py
    python examples/train_from_store.py --uri s3://bucket/digits

The objects are written where they are missing; after that every sample is read anew in every epoch,
in shuffled batches. The keys are `<label>/<number>.npy`.
"""

import argparse
import io
import time
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier

import s3dlio


def find_samples(store: s3dlio.Store) -> list[str]:
    """List the digits' URIs; write each digit as one object of 64 numbers where some are missing."""
    digits = load_digits()
    found = store.list(recursive=True, pattern="*/*.npy")
    if len(found) == len(digits.target):
        return list(found)
    items = []
    for number, (pixels, label) in enumerate(zip(digits.data, digits.target, strict=True)):
        file = io.BytesIO()
        np.save(file, (pixels / 16).astype(np.float32))
        items.append((f"{label}/{number:04d}.npy", file.getvalue()))
    store.put_many(items)
    return list(store.list(recursive=True, pattern="*/*.npy"))


def array_of(buffer: s3dlio.Buffer) -> np.ndarray:
    """See the array inside a `.npy` object; its numbers stay where they are."""
    view = buffer.memoryview()
    header = io.BytesIO(view[:256])
    npy.read_magic(header)
    shape, _, dtype = npy.read_array_header_1_0(header)
    return np.frombuffer(view, dtype, offset=header.tell()).reshape(shape)


def read_batch(store: s3dlio.Store, uris: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Read objects side by side; stacking them is the one copy of the numbers."""
    labels = np.array([int(uri.split("/")[-2]) for uri in uris])
    return np.stack([array_of(buffer) for buffer in store.get_many(uris)]), labels


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a classifier of digits from a store.")
    parser.add_argument(
        "--uri", default=f"file://{Path('digits').absolute()}", help="folder for the objects"
    )
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64, help="samples in a batch")
    options = parser.parse_args()

    store = s3dlio.Store(options.uri)
    uris = find_samples(store)

    random = np.random.default_rng(seed=0)
    random.shuffle(uris)
    held_out, training = uris[: len(uris) // 5], uris[len(uris) // 5 :]

    model = SGDClassifier(loss="log_loss", random_state=0)
    before, began, samples = store.counters(), time.perf_counter(), 0
    for _ in range(options.epochs):
        random.shuffle(training)
        for start in range(0, len(training), options.batch):
            pixels, labels = read_batch(store, training[start : start + options.batch])
            model.partial_fit(pixels, labels, classes=range(10))
            samples += len(labels)
    seconds = time.perf_counter() - began
    did = {name: count - before[name] for name, count in store.counters().items()}

    print(
        f"accuracy   {model.score(*read_batch(store, held_out)):.3f} on {len(held_out)} held-out samples"
    )
    print(f"trained    {samples} samples in {seconds:.2f} s: {samples / seconds:.0f} samples/s, "
          f"{did['bytes_read'] / seconds / 1e6:.1f} MB/s")  # fmt: skip
    print(f"requests   {did['requests']} ({did['retries']} of them repeated)")
    print(
        f"copies     {did['bytes_copied']} bytes copied between the store and the arrays; one stack per batch"
    )


if __name__ == "__main__":
    main()
