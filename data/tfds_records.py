"""Datasets for TFDS, without TensorFlow: the same examples as `data.load`, as records.

    import tensorflow_datasets as tfds
    import data.camvid.camvid_dataset_builder  # makes the name known
    source = tfds.data_source("camvid", split="train", builder_kwargs={"source": "DIR"})

Records hold {"name", "image" [H, W, 3], "label" [H, W, 1]} with the values of `data.load`: 0..K-1
and reseg_jax.labels.VOID. Builders are beside the datasets; this is the only importer of TFDS.
"""

import tensorflow_datasets as tfds
from PIL import Image

import data

Version = tfds.core.Version


class Records(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A dataset's builder: subclasses give `dataset`, `homepage`, VERSION and RELEASE_NOTES.

    Attributes:
      source: the folder that holds the dataset, `data_dir` of `data.load`.
    """

    dataset: str
    homepage: str

    def __init__(self, *, source=None, file_format=None, **kwargs):
        self.source = source
        # TFDS' default, TFRECORD, can only be written with TensorFlow.
        super().__init__(file_format=file_format or "array_record", **kwargs)

    def _info(self):
        classes = data.classes(self.dataset)
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "name": tfds.features.Text(),
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "label": tfds.features.Image(shape=(None, None, 1)),
                }
            ),
            supervised_keys=("image", "label"),
            homepage=self.homepage,
            metadata=tfds.core.MetadataDict(classes=classes.names, palette=classes.palette),
        )

    def _split_generators(self, dl_manager):
        return {
            split: self._generate_examples(split)
            for split in data.splits(self.dataset, self.source)
        }

    def _generate_examples(self, split):
        for name, image, label in data.load(self.dataset, split, self.source):
            # As Pillow's images, since TFDS encodes arrays with TensorFlow.
            record = {"image": Image.fromarray(image), "label": Image.fromarray(label)}
            yield name, {"name": name} | record
