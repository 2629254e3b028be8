"""What ``--descriptor`` and ``--layers`` ask for: a name, an array of the frames, or the file of an encoder."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols

from mlff_curate.data.features import FeatureReader
from mlff_curate.data.opening import is_file, is_folder
from mlff_curate.descriptors.given import GivenFeatures
from mlff_curate.descriptors.registry import DESCRIPTORS, detailed_descriptor, make_descriptor
from mlff_curate.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlff_curate.cgcnn.potential_network import PotentialNetwork
    from mlff_curate.descriptors.base import Descriptor
    from mlff_curate.workflows.collect import Collection

_ARRAY = "array:"


@dataclass(frozen=True)
class DescriptorChoice:
    """A descriptor that was asked for, before it is known of which elements the frames are.

    Attributes
    ----------
    word
        As typed.
    layers
        Of an encoder, digits; None: all.
    network
        The encoder's.
    sha256
        Of the encoder's file.
    key
        Name of the array of the frames that was asked for, or None.
    """

    word: str
    layers: str | None = None
    network: PotentialNetwork | None = None
    sha256: str = ""
    key: str | None = None

    def made_for(self, collection: Collection) -> Descriptor:
        """Return the descriptor for these frames.

        Raises
        ------
        DataError
            A frame holds an element that the encoder never saw; names file, frame and elements.
        CurateError
            As :func:`make_descriptor`.
        """
        species = species_of(collection)
        if self.key is not None:
            return GivenFeatures(species, self.key, collection.geometries[0].arrays[self.key].shape[1])
        if self.network is not None:
            from mlff_curate.pretraining.descriptor import EncoderDescriptor

            require_known_elements(collection, self.network.sizes.elements, f"the encoder {self.word} never saw")
            return EncoderDescriptor(self.network, species, self.layers, self.word, self.sha256)
        return make_descriptor(self.word, species)

    def detail_for(self, species: Sequence[int]) -> Descriptor | None:
        """Return the finer descriptor that our own selector looks at beside this one.

        There is none beside what the user hands in: that alone is to decide.
        """
        return None if self.key is not None or self.network is not None else detailed_descriptor(species)


def choose_descriptor(word: str | Path, layers: str | None = None) -> DescriptorChoice:
    """Return what is asked for; an encoder is read.

    Parameters
    ----------
    word
        One of ``DESCRIPTORS``, ``array:KEY``, or a file that ``pretrain`` or ``train`` wrote.
    layers
        Of an encoder, see :func:`mlff_curate.cgcnn.representation.representation`.

    Raises
    ------
    UsageError
        Neither a name nor a file; layers that there are not, or of something else than an encoder.
    DataError
        The file is missing, damaged, or neither an encoder nor a potential.
    """
    word = str(word)
    file = encoder_file(word)
    if layers is not None and file is None:
        raise UsageError(f"an encoder has layers, {word} has none", key="--layers")
    features = features_wanted(word)
    if features is not None:
        return DescriptorChoice(word, key=features.key)
    if word in DESCRIPTORS:
        return DescriptorChoice(word)
    if file is None:
        known = ", ".join(DESCRIPTORS)
        raise UsageError(
            f"{word!r} is unknown; available: {known}, {_ARRAY}KEY, and files of pretrain or train", key="--descriptor"
        )
    return _encoder_choice(word, layers)


def features_wanted(word: str | Path | None) -> FeatureReader | None:
    """Return what takes the array from the frames that a word for a descriptor asks for, or None.

    Raises
    ------
    UsageError
        An array that holds no features.
    """
    word = "" if word is None else str(word)
    return FeatureReader(word.removeprefix(_ARRAY)) if word.startswith(_ARRAY) else None


def encoder_file(word: str | Path | None) -> Path | None:
    """Return the file that a word for a descriptor means, or None: a known name is no file, were there one."""
    word = "" if word is None else str(word)
    if not word or word in DESCRIPTORS or word.startswith(_ARRAY):
        return None
    path = Path(word)
    return path if is_file(path) or is_folder(path) or path.suffix or len(path.parts) > 1 else None


def _encoder_choice(word: str, layers: str | None) -> DescriptorChoice:
    from mlff_curate.cgcnn.network_file import ENCODER_KIND, POTENTIAL_KIND
    from mlff_curate.cgcnn.potential import Potential
    from mlff_curate.data.checkpoints import kind_of
    from mlff_curate.pretraining.descriptor import EncoderDescriptor
    from mlff_curate.pretraining.model import Pretraining

    model: Potential | Pretraining
    if kind_of(word, POTENTIAL_KIND, ENCODER_KIND) == ENCODER_KIND:
        model = Pretraining.load(word)
    else:
        model = Potential.load(word)
    network = model.fitted_.network
    choice = DescriptorChoice(word, layers, network, hashlib.sha256(Path(word).read_bytes()).hexdigest())
    EncoderDescriptor(network, network.sizes.elements, layers, word, choice.sha256)  # refuses layers that are none
    return choice


def species_of(collection: Collection) -> list[int]:
    """Return the elements of all frames, ascending."""
    return sorted({int(z) for atoms in collection.geometries for z in np.unique(atoms.numbers)})


def require_known_elements(collection: Collection, known: Sequence[int], whose: str) -> None:
    """Refuse frames with an element that has no place in what is to describe them.

    Parameters
    ----------
    collection
        The frames.
    known
        Atomic numbers.
    whose
        What does not know the others, and in which way: ``the encoder X never saw``.

    Raises
    ------
    DataError
        The message names file, frame, the elements that are new and those that are known.
    """
    for record, atoms in zip(collection.records, collection.geometries, strict=True):
        strange = sorted({int(z) for z in np.unique(atoms.numbers)} - set(known))
        if strange:
            raise DataError(
                f"holds {_symbols(strange)}, which {whose}; it knows {_symbols(known)}",
                file=record.source,
                frame=record.index,
            )


def _symbols(numbers: Iterable[int]) -> str:
    return ", ".join(chemical_symbols[z] for z in numbers)
