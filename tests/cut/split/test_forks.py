"""Nets of Caffe's forks, cut: a SegNet with its masks, a Fast R-CNN with its regions, others."""

from __future__ import annotations

import pytest

from dualnet import config
from dualnet.backend import provider
from dualnet.cut.graph import read_net
from tests.cut.both import train_whole_and_cut
from tests.cut.singles import DATA, conv, cut_in_two, relu

pytestmark = [
    pytest.mark.usefixtures("workdir"),
    pytest.mark.skipif(provider == "bvlc", reason="BVLC Caffe has none of these layers"),
]

BN = "bn_param { scale_filler { value: 1 } shift_filler { value: 0.01 } }"
POOL = "pooling_param { kernel_size: 2 stride: 2 ceil_mode: false }"


def layer(name, kind, bottoms, tops="", more=""):
    """One layer; the top is called as the layer unless given."""
    bottom = " ".join(f'bottom: "{b}"' for b in bottoms.split())
    top = " ".join(f'top: "{t}"' for t in (tops or name).split())
    return f'layer {{ name: "{name}" type: "{kind}" {bottom} {top} {more} }}\n'


def constant(name, shape, *values):
    """A blob of rows that are all `values`, from one DummyData for each column."""
    dims = " ".join(f"dim: {d}" for d in (shape, 1))
    columns = [f"{name}_{i}" for i in range(len(values))]
    made = "".join(
        layer(column, "DummyData", "", "",
              f"dummy_data_param {{ shape {{ {dims} }} data_filler {{ value: {value} }} }}")
        for column, value in zip(columns, values)
    )  # fmt: skip
    return made + layer(name, "Concat", " ".join(columns))


#: Two stages down and up; masks pass the middle by. Labels: every pixel has its image's digit.
SEGNET = (
    'name: "segnet"\n' + DATA
    + layer("zero", "Power", "data", more="power_param { scale: 0 }")
    + layer("labels", "Bias", "zero label", more="bias_param { axis: 0 }")
    + conv("conv1", "data") + layer("bn1", "BN", "conv1", "conv1", BN) + relu("relu1", "conv1")
    + layer("pool1", "Pooling", "conv1", "pool1 mask1", POOL)
    + conv("conv2", "pool1") + relu("relu2", "conv2", "conv2r")
    + layer("pool2", "Pooling", "conv2r", "pool2 mask2", POOL)
    + conv("conv3", "pool2")
    + layer("up2", "Upsample", "conv3 mask2", more="upsample_param { scale: 2 }")
    + conv("conv_d2", "up2") + layer("bn_d2", "BN", "conv_d2", "conv_d2b", BN)
    + layer("up1", "Upsample", "conv_d2b mask1",
            more="upsample_param { upsample_h: 8 upsample_w: 8 }")
    + conv("conv_d1", "up1", num_output=10)
    + layer("loss", "SoftmaxWithLoss", "conv_d1 labels", more="loss_param { weight_by_label_freqs: "
            "true " + " ".join(f"class_weighting: {1 + i / 10}" for i in range(10)) + "}")
)  # fmt: skip
FAST_RCNN = (
    'name: "fast_rcnn"\n' + DATA
    + constant("rois_a", 3, 2, 1, 0, 6, 5) + constant("rois_b", 2, 7, 0, 2, 3, 7)
    + layer("rois", "Concat", "rois_a rois_b", more="concat_param { axis: 0 }")
    + constant("targets", 5, 0.5, -1, 0, 2) + constant("inside", 5, 1, 1, 0, 1)
    + constant("outside", 5, 0.5, 0.5, 0.5, 0.5)
    + layer("classes", "DummyData", "", "",
            "dummy_data_param { shape { dim: 5 } data_filler { value: 3 } }")
    + conv("conv1", "data") + relu("relu1", "conv1")
    + layer("pool1", "Pooling", "conv1", more=POOL)
    + conv("conv2", "pool1") + relu("relu2", "conv2", "conv2r") + conv("conv3", "conv2r")
    + layer("roi_pool", "ROIPooling", "conv3 rois",
            more="roi_pooling_param { pooled_h: 2 pooled_w: 2 spatial_scale: 0.5 }")
    + layer("fc6", "InnerProduct", "roi_pool", more="inner_product_param { num_output: 6 "
            "weight_filler { type: 'xavier' } }")
    + relu("relu6", "fc6", "fc6r")
    + layer("score", "InnerProduct", "fc6r", more="inner_product_param { num_output: 5 "
            "weight_filler { type: 'xavier' } }")
    + layer("box", "InnerProduct", "fc6r", more="inner_product_param { num_output: 4 "
            "weight_filler { type: 'xavier' } }")
    + layer("loss", "SoftmaxWithLoss", "score classes")
    + layer("loss_box", "SmoothL1Loss", "box targets inside outside", "loss_box",
            "smooth_l1_loss_param { sigma: 2 } loss_weight: 1")
)  # fmt: skip
#: Normalize, depthwise convolution, ShuffleChannel, Axpy, Interp and Permute in a row.
MIXED = (
    'name: "mixed"\n' + DATA + conv("conv1", "data")
    + layer("norm", "Normalize", "conv1", more="norm_param { scale_filler { value: 8 } "
            "across_spatial: false channel_shared: false }")
    + layer("dw", "ConvolutionDepthwise", "norm", more="convolution_param { kernel_size: 3 pad: 1 "
            "weight_filler { type: 'msra' } }")
    + layer("shuffle", "ShuffleChannel", "dw", more="shuffle_channel_param { group: 2 }")
    + layer("squeeze", "Pooling", "shuffle",
            more="pooling_param { pool: AVE global_pooling: true }")
    + layer("gate", "Sigmoid", "squeeze")
    + layer("axpy", "Axpy", "gate shuffle norm")
    + layer("interp", "Interp", "axpy", more="interp_param { shrink_factor: 2 }")
    + layer("permute", "Permute", "interp", more="permute_param { order: 0 order: 2 order: 3 }")
    + layer("score", "InnerProduct", "permute", more="inner_product_param { num_output: 10 "
            "weight_filler { type: 'xavier' } }")
    + layer("loss", "SoftmaxWithLoss", "score label")
)  # fmt: skip

CUTS = {
    "segnet at pool1": (SEGNET, "pool1", "conv2"),
    "segnet at pool2": (SEGNET, "pool2", "conv3"),
    "segnet at conv_d2b": (SEGNET, "conv_d2b", "up1 conv_d1"),
    "fast_rcnn at pool1": (FAST_RCNN, "pool1", "conv2"),
    "fast_rcnn at conv2r": (FAST_RCNN, "conv2r", "conv3"),
    "fast_rcnn at roi_pool": (FAST_RCNN, "roi_pool", "fc6"),
    "mixed at norm": (MIXED, "norm", "dw"),
    "mixed at shuffle": (MIXED, "shuffle", "squeeze gate axpy"),
}


@pytest.mark.parametrize("name", CUTS)
def test_training_the_pieces_is_training_the_net(tmp_path, name):
    text, at, dual = CUTS[name]
    yaml, _, _ = cut_in_two(tmp_path / "nets", text, at, dual)
    outcome = train_whole_and_cut(yaml, "run", 3, "update.learning_rate=0.02")
    assert outcome.step < 2e-3, outcome
    assert outcome.weight < 1e-5, outcome
    assert {piece.split()[0] for piece in outcome.steps} == {"net1", "net2"}
    assert outcome.losses[-1] != outcome.losses[0]


@pytest.mark.parametrize(
    ("name", "blobs", "labels"),
    [
        ("segnet at pool1", ["pool1"], {"labels", "mask1"}),
        ("segnet at pool2", ["pool2"], {"labels", "mask1", "mask2"}),
    ],
)
def test_masks_travel_as_they_are_and_are_not_compared(tmp_path, name, blobs, labels):
    """As cut blobs they would be rounded by `exchange.dtype`, and compared in vain."""
    text, at, dual = CUTS[name]
    yaml, texts, _ = cut_in_two(tmp_path / "nets", text, at, dual)
    cut = config.load(yaml).cuts[0]
    assert list(cut.blobs) == blobs
    assert labels <= set(cut.labels)
    losses = [one for one in texts["net1_train_test.prototxt"].split("layer {") if "Loss" in one]
    assert len(losses) == 1 and "mask" not in losses[0]
    net2 = read_net(str(tmp_path / "nets" / "cut" / "net2_train_test.prototxt"))
    assert [one.type for one in net2.layer].count("Upsample") == 2
