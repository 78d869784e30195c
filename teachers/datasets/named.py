"""The data sets that teachers were trained on, by name, and those in any file or folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from bench.plugin import (
    Asset,
    Dataset,
    ImageSpec,
    InMemory,
    UsageError,
    at_hand,
    cache_folder,
    fetch,
    refuse_path,
)
from teachers.datasets.arrays import NPY, npy_images, npz_images, pt_images
from teachers.datasets.bounded import is_gzip_of
from teachers.datasets.cifar import cifar_archive
from teachers.datasets.idx import MAGIC, idx_folder, idx_images, is_idx_folder
from teachers.datasets.images import ImageFiles, names_in_zip

CIFAR10_ARCHIVE = Asset(
    id="cifar10-python",
    file="cifar-10-python.tar.gz",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    licence="not stated by its authors",
    source="NVlabs/edm README; md5 from FastGen's download script",
    md5="c58f30108f718f92721af3b95e74349a",
)


class Digits(InMemory):
    """The 1,797 handwritten digits of scikit-learn, 1x8x8, their 17 grey levels spread over 0 to 255."""

    def __init__(self, path: Path | None = None) -> None:
        refuse_path("digits", path)
        from sklearn.datasets import load_digits  # here: takes a second to import

        values, classes = load_digits(return_X_y=True)
        pixels = torch.from_numpy(np.rint(values * (255 / 16)).astype(np.uint8)).reshape(-1, 1, 8, 8)
        super().__init__(pixels, torch.from_numpy(classes))


def read_files(path: Path, *, labels: bool = True) -> Dataset:
    """Open an EDM zip, an image folder, a CIFAR-10 archive, idx files, or an array of images.

    Raises UsageError for a path that does not exist or holds none of these.
    """
    if path.is_dir():
        return (
            idx_folder(path, labels=labels) if is_idx_folder(path) else ImageFiles(path, labels=labels)
        )
    if not path.is_file():  # opening a pipe would wait for its other end
        raise UsageError(f"the data set {str(path)!r} does not exist; give a file or folder.")
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise UsageError(
            f"the data set {str(path)!r} cannot be read ({error.strerror}); check its permissions."
        ) from None
    if head.startswith(NPY):
        return npy_images(path)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        members = names_in_zip(path)
        if any(name.endswith(".npy") for name in members):
            return npz_images(path)
        if any(name.endswith("data.pkl") for name in members):
            return pt_images(path)
        return ImageFiles(path, labels=labels)
    if ((packed := head.startswith(b"\x1f\x8b")) and is_gzip_of(path, MAGIC)) or head.startswith(MAGIC):
        return idx_images(path)
    if packed or head[257:262] == b"ustar":
        return cifar_archive(path, labels=labels)
    raise UsageError(
        f"{str(path)!r} is no data set that this suite reads; expected an EDM zip, a folder of images, "
        "the CIFAR-10 python archive, idx files, or an array of images (.npz, .npy, .pt)."
    )


class Files(Dataset):
    """Any file or folder given as path: an EDM zip, an image folder, CIFAR-10's archive, idx files, or an
    array of images.

    Without ``labels`` those of the images are neither read nor needed.
    """

    def __init__(self, path: Path | None = None, *, labels: bool = True) -> None:
        self.source = self.open(path, labels=labels)

    def open(self, path: Path | None, *, labels: bool) -> Dataset:
        """Open the data set in ``path``."""
        if path is None:
            raise UsageError("the data set 'files' is whatever a file or folder holds; give its path.")
        return read_files(path, labels=labels)

    @property
    def image_spec(self) -> ImageSpec:
        return self.source.image_spec

    def __len__(self) -> int:
        return len(self.source)

    def read(self, indices: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        return self.source.read(indices)


class Declared(Files):
    """A known data set, with a usual place and a declared size of images and number of classes.

    One that the suite cannot download is put into ``datasets`` in the cache by the user.
    """

    name: ClassVar[str]
    declared: ClassVar[ImageSpec]
    file: ClassVar[str]
    how: ClassVar[str]
    """How to get it, in the words of an error message."""

    def usual_place(self) -> Path:
        """Return its file or folder. Raises UsageError that says how to get it if it is not there."""
        place = cache_folder() / "datasets" / self.file
        if not place.exists():
            raise UsageError(
                f"the data set {self.name!r} is not in {str(place)!r} and cannot be downloaded by "
                f"the suite; {self.how}, and put it there or give its path."
            )
        return place

    def open(self, path: Path | None, *, labels: bool) -> Dataset:
        """Open the data set in ``path``, or in its usual place.

        A data set without classes is read without labels, as EDM trains on it: EDM's tool makes
        classes of the folders that images came from, which mean nothing for faces sorted by number.
        Raises UsageError for other images than those declared.
        """
        path = path or self.usual_place()
        dataset = self.read_from(path)
        if dataset.image_spec != self.declared:
            raise UsageError(
                f"{str(path)!r} has {_describe(dataset.image_spec)}, expected "
                f"{_describe(self.declared)}; give the file of the data set {self.name!r}."
            )
        return dataset

    def read_from(self, path: Path) -> Dataset:
        """Read whatever is in ``path``."""
        return read_files(path, labels=self.declared.label_dim > 0)


class CIFAR10(Declared):
    """CIFAR-10's training set: 50,000 photographs of 10 classes, 3x32x32; downloaded, or a path."""

    name, declared, assets = "cifar10", ImageSpec(3, 32, 10), (CIFAR10_ARCHIVE,)

    def usual_place(self) -> Path:
        return fetch(CIFAR10_ARCHIVE)


def fashion_file(file: str, md5: str) -> Asset:
    """Return one of the four files of Fashion-MNIST."""
    return Asset(
        id="fashion-mnist",
        file=file,
        url=f"http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/{file}",
        licence="MIT (Zalando SE)",
        source="README of zalandoresearch/fashion-mnist",
        md5=md5,
    )


class FashionMNIST(Declared):
    """Fashion-MNIST's training set: 60,000 grey pictures of 10 kinds of clothes, 1x28x28.

    Its idx files are looked for in ``datasets/fashion-mnist`` in the cache, then where Debian's package
    dataset-fashion-mnist has them, and are else downloaded from their authors.
    """

    name, declared = "fashion-mnist", ImageSpec(1, 28, 10)
    packaged: ClassVar[Path] = Path("/usr/share/datasets/fashion-mnist")
    split: ClassVar[str] = "train"
    assets: ClassVar[tuple[Asset, ...]] = (
        fashion_file("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        fashion_file("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
    )

    def usual_place(self) -> Path:
        own = cache_folder() / "datasets" / "fashion-mnist"
        for folder in (own, self.packaged):
            if folder.is_dir() and is_idx_folder(folder, self.split):
                return folder
        for asset in self.assets:
            at_hand(asset)  # all of them, so that a dry run names each
        return fetch(self.assets[0]).parent

    def read_from(self, path: Path) -> Dataset:
        return idx_folder(path, split=self.split) if path.is_dir() else super().read_from(path)


class FashionMNISTTest(FashionMNIST):
    """Fashion-MNIST's test set: 10,000 pictures like those of the training set; found as they are."""

    name, split = "fashion-mnist-test", "t10k"
    assets = (
        fashion_file("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
        fashion_file("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
    )


def _made_by_dataset_tool(source: str, options: str) -> str:
    return f"make it with EDM's `python dataset_tool.py --source={source} --dest=FILE.zip {options}`"


class FFHQ64(Declared):
    """FFHQ: 70,000 faces, 3x64x64, no labels; an EDM zip made by the user."""

    name, declared, file = "ffhq64", ImageSpec(3, 64), "ffhq-64x64.zip"
    how = _made_by_dataset_tool("images1024x1024", "--resolution=64x64")


class AFHQv2(Declared):
    """AFHQv2: 15,803 animal faces, 3x64x64, no labels; an EDM zip made by the user."""

    name, declared, file = "afhqv2-64", ImageSpec(3, 64), "afhqv2-64x64.zip"
    how = _made_by_dataset_tool("afhqv2", "--resolution=64x64")


class ImageNet64(Declared):
    """ImageNet's training set: 1,281,167 photographs of 1,000 classes, 3x64x64; the user's EDM zip."""

    name, declared, file = "imagenet64", ImageSpec(3, 64, 1000), "imagenet-64x64.zip"
    how = _made_by_dataset_tool(
        "ILSVRC/Data/CLS-LOC/train", "--resolution=64x64 --transform=center-crop"
    )


def _describe(images: ImageSpec) -> str:
    return f"images {images} with " + (
        f"{images.label_dim:,} classes" if images.label_dim else "no labels"
    )
