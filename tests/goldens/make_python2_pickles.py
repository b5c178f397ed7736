"""Make python2_text.pkl and python2_binary.pkl: pickles laid out as Lasagne's vgg16.pkl.

Needs Python 2.7 with NumPy 1.16, which wrote that file: run this file with it.
"""

import os

import cPickle
import numpy as np

CONTENT = {
    "param values": [
        np.arange(54, dtype="f4").reshape(2, 3, 3, 3) / 8,
        np.asfortranarray(np.arange(6, dtype=">f8").reshape(2, 3)),
    ],
    "mean value": np.array([103.939, 116.779, 123.68]),
    "scalar": np.float32(0.5),
    "synset words": ["tench, Tinca tinca", "caf\xe9"],
}

if __name__ == "__main__":
    folder = os.path.dirname(os.path.abspath(__file__))
    for name, protocol in (("text", 0), ("binary", 2)):
        with open(os.path.join(folder, "python2_" + name + ".pkl"), "wb") as file:
            cPickle.dump(CONTENT, file, protocol)
