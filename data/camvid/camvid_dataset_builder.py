"""CamVid for TFDS, without TensorFlow: the same files as `data.load`, as records.

    import tensorflow_datasets as tfds
    import data.camvid.camvid_dataset_builder  # makes the name known
    source = tfds.data_source("camvid", split="train", builder_kwargs={"source": "DIR"})

Records hold {"name", "image" [H, W, 3], "label" [H, W, 1]} with the label files' own values:
void is 11 there, which `data.load` reads as reseg_jax.config.VOID.
"""

import io

import tensorflow_datasets as tfds

from data.camvid import CLASSES, files


class Builder(tfds.core.GeneratorBasedBuilder):
    """source: the folder that holds CamVid; without it as for `data.load`."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "367 training, 101 validation and 233 test frames of 480x360."}  # noqa: RUF012

    def __init__(self, *, source=None, file_format=None, **kwargs):
        self.source = source
        # TFDS' default, TFRECORD, can only be written with TensorFlow.
        super().__init__(file_format=file_format or "array_record", **kwargs)

    def _info(self):
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "name": tfds.features.Text(),
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "label": tfds.features.Image(shape=(None, None, 1)),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/",
            metadata=tfds.core.MetadataDict(
                classes=CLASSES.names, palette=CLASSES.palette, void=CLASSES.void
            ),
        )

    def _split_generators(self, dl_manager):
        folder = files.find(self.source)
        return {
            split: self._generate_examples(files.pairs(folder, split))
            for split in files.splits(folder)
        }

    def _generate_examples(self, pairs):
        for pair in pairs:
            # The files' bytes are the records': nothing is encoded a second time.
            image, label = (io.BytesIO(path.read_bytes()) for path in (pair.image, pair.label))
            yield pair.name, {"name": pair.name, "image": image, "label": label}
