"""CIFAR-100 (Krizhevsky, 2009): 32 × 32 colour photographs of 100 classes in 20 superclasses, 50,000 and 10,000."""

from pathlib import Path

from robustloss.data import cifar_records, prepared

# In the order of the publisher's fine_label_names.txt and coarse_label_names.txt.
FINE_NAMES = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
    caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
    flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
    motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
    poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
    squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
    wardrobe whale willow_tree wolf woman worm
"""
COARSE_NAMES = """
    aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices household_furniture
    insects large_carnivores large_man-made_outdoor_things large_natural_outdoor_scenes large_omnivores_and_herbivores
    medium_mammals non-insect_invertebrates people reptiles small_mammals trees vehicles_1 vehicles_2
"""
LAYOUT = cifar_records.Layout(
    name="cifar100",
    archive="cifar-100-binary.tar.gz",
    folder="cifar-100-binary",
    train={"train.bin": 50_000},
    test={"test.bin": 10_000},
    labels={"coarse": COARSE_NAMES.split(), "class": FINE_NAMES.split()},
)


def prepare(
    spec: dict, directory: str | Path, raw: str | Path, may_download: bool, source: dict | None = None
) -> prepared.Prepared:
    """Prepare the binary version in `raw`/cifar100, or its archive there, downloaded if absent: uint8 (n, 32, 32, 3).

    The class is the fine label; the index has the superclass as `coarse`, whose names the record's sources give.
    `spec`: `train_count` and `evaluation_count` (first images of train.bin and test.bin), all by default. `source` is
    the archive's row, data/sources.csv's if not given. Raises Problem naming the file that is missing, damaged or not
    the official one.
    """
    return cifar_records.prepare(spec, directory, raw, may_download, LAYOUT, source)
