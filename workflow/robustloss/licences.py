"""What may be passed on to anybody, and what this repository passes on."""

# scikit-learn's digits are CC BY 4.0, the clips are drawn by this library. MNIST, which is free as well (CC BY-SA 3.0),
# is downloaded from its mirrors and does not travel with every clone. Cholec80 is given to whoever asks its publisher,
# and to nobody else; CIFAR and Tiny ImageNet name no licence.
FREE = ("cholec80-sim", "digits")
