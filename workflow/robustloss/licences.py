"""What may be passed on to anybody, and what this repository passes on."""

# scikit-learn's digits are CC BY 4.0, the clips are drawn by this library.
FREE = ("cholec80-sim", "digits")
# MNIST, which is free as well (CC BY-SA 3.0), is downloaded from its mirrors and does not travel with every clone. What
# is not named here goes nowhere but to remotes that are said to be private: Cholec80 is given to whoever asks its
# publisher, and to nobody else; CIFAR and Tiny ImageNet name no licence.
SHARED = (*FREE, "mnist")
