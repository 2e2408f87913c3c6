"""Small nets of all shapes, and where to cut them."""

from __future__ import annotations

from tests.cut.singles import CHAIN, DATA, classifier, conv, relu

TWO_HEADS = (
    'name: "heads"\n' + DATA + conv("conv1", "data") + relu("relu1", "conv1")
    + conv("conv2", "conv1") + classifier("conv2", "ip_a", "loss_a", "loss_weight: 0.3")
    + relu("relu2", "conv2", "conv2r") + conv("conv3", "conv2r") + classifier("conv3")
)  # fmt: skip
#: The output of the first dual layer is read beside the second.
READ_TWICE = (
    DATA + conv("conv1", "data") + conv("conv2", "conv1") + conv("conv3", "conv2")
    + "layer { name: 'sum' type: 'Eltwise' bottom: 'conv2' bottom: 'conv3' top: 'sum' }\n"
    + relu("relu", "sum") + classifier("sum")
)  # fmt: skip
#: Two branches, of one blob and of what a layer makes of it; the sum is made in place.
TWO_WAYS = (
    DATA + conv("conv1", "data") + conv("left", "conv1") + relu("relu1", "conv1", "positive")
    + conv("right", "positive")
    + "layer { name: 'sum' type: 'Bias' bottom: 'left' bottom: 'right' top: 'left' "
    "bias_param { axis: 0 } }\n"
    + classifier("left")
)  # fmt: skip
#: The data is read above the cut, and labels come in two forms.
FROM_DATA = (
    DATA + conv("conv1", "data") + relu("relu1", "conv1")
    + "layer { name: 'both' type: 'Concat' bottom: 'conv1' bottom: 'data' top: 'both' }\n"
    + conv("conv2", "both") + classifier("conv2")
    + "layer { name: 'ip_b' type: 'InnerProduct' bottom: 'both' top: 'ip_b' "
    "inner_product_param { num_output: 1 weight_filler { type: 'xavier' } } }\n"
    "layer { name: 'half' type: 'Power' bottom: 'label' top: 'half' power_param { scale: 0.5 } }\n"
    "layer { name: 'column' type: 'Reshape' bottom: 'half' top: 'column' "
    "reshape_param { shape { dim: 0 dim: 1 } } }\n"
    "layer { name: 'distance' type: 'EuclideanLoss' bottom: 'ip_b' bottom: 'column' top: 'd' "
    "loss_weight: 0.01 }\n"
)  # fmt: skip
#: Three branches, each with an activation in place, of which a cut in one leaves two beside it.
THREE_WAYS = (
    DATA + conv("conv1", "data") + relu("relu1", "conv1")
    + "".join(conv(name, "conv1") + relu(f"{name}_relu", name) for name in ("a", "b", "c"))
    + conv("b2", "b") + relu("b2_relu", "b2")
    + "layer { name: 'out' type: 'Concat' bottom: 'a' bottom: 'b2' bottom: 'c' top: 'out' }\n"
    + classifier("out")
)  # fmt: skip
#: The label is read by a loss in training alone and by an accuracy in tests alone.
EACH_PHASE = (
    DATA + conv("conv1", "data") + relu("relu1", "conv1") + conv("conv2", "conv1")
    + classifier("conv2", more="include { phase: TRAIN }")
    + "layer { name: 'accuracy' type: 'Accuracy' bottom: 'ip' bottom: 'label' top: 'accuracy' "
    "include { phase: TEST } }\n"
)  # fmt: skip
_BODY = conv("conv1", "data") + relu("relu1", "conv1") + conv("conv2", "conv1")
_SCORES = (
    "layer { name: 'ip' type: 'InnerProduct' bottom: 'conv2' top: 'ip' "
    "inner_product_param { num_output: 10 weight_filler { type: 'xavier' } } }\n"
)
_LOSS = "layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'ip' bottom: 'label' top: 'loss' "
#: Tests have no labels, only predictions.
UNLABELLED = (
    DATA.replace('top: "label" include { phase: TEST }', "include { phase: TEST }")
    + _BODY + _SCORES + _LOSS + "include { phase: TRAIN } }\n"
    + "layer { name: 'prob' type: 'Softmax' bottom: 'ip' top: 'prob' include { phase: TEST } }\n"
)  # fmt: skip
#: What tests compare with is made of the labels for tests alone.
OTHER_TRUTH = (
    DATA + _BODY + _SCORES + _LOSS + "}\n"
    + "layer { name: 'truth' type: 'Power' bottom: 'label' top: 'truth' include { phase: TEST } }\n"
    "layer { name: 'accuracy' type: 'Accuracy' bottom: 'ip' bottom: 'truth' top: 'accuracy' "
    "include { phase: TEST } }\n"
    "layer { name: 'as_usual' type: 'Accuracy' bottom: 'ip' bottom: 'label' top: 'as_usual' "
    "include { phase: TEST } }\n"
)  # fmt: skip
#: A constant and a parameter that layers above the cut alone read, some of them dual layers.
CONSTANTS = (
    DATA + _BODY
    + "layer { name: 'half' type: 'DummyData' top: 'half' dummy_data_param { shape { dim: 4 } "
    "data_filler { value: 0.5 } } }\n"
    "layer { name: 'scale' type: 'Scale' bottom: 'conv2' bottom: 'half' top: 'scaled' }\n"
    "layer { name: 'offset' type: 'Parameter' top: 'offset' "
    "parameter_param { shape { dim: 4 } } }\n"
    "layer { name: 'bias' type: 'Bias' bottom: 'scaled' bottom: 'offset' top: 'biased' }\n"
    + classifier("biased")
)  # fmt: skip
#: The format of 2014, in which VGG's and NIN's nets are.
OF_2014 = """name: "old"
layers { name: "data" type: DATA top: "data" top: "label" include { phase: TRAIN }
  data_param { source: "data/digits/train_lmdb" batch_size: 16 backend: LMDB scale: 0.0625 } }
layers { name: "data" type: DATA top: "data" top: "label" include { phase: TEST }
  data_param { source: "data/digits/test_lmdb" batch_size: 60 backend: LMDB scale: 0.0625 } }
# The only convolution.
layers { name: "conv1" type: CONVOLUTION bottom: "data" top: "conv1" blobs_lr: 1 blobs_lr: 2
  weight_decay: 1 weight_decay: 0
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layers { name: "relu1" type: RELU bottom: "conv1" top: "conv1" }
layers { name: "ip" type: INNER_PRODUCT bottom: "conv1" top: "ip"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layers { name: "loss" type: SOFTMAX_LOSS bottom: "ip" bottom: "label" }
layers { name: "accuracy" type: ACCURACY bottom: "ip" bottom: "label" top: "accuracy"
  include { phase: TEST } }
"""
SHARED = "param { name: 'w' } param { name: 'b' }"
#: Parameters shared on one side of the cut; a layer that does not learn; rates of its own.
SHARED_BELOW = (
    DATA + conv("conv0", "data") + conv("conv1", "conv0", more=SHARED)
    + conv("conv2", "conv1", more=SHARED)
    + conv("conv3", "conv2", more="param { lr_mult: 0 } param { lr_mult: 0 }")
    + relu("relu3", "conv3") + conv("conv4", "conv3", more="param { lr_mult: 2 }")
    + classifier("conv4")
)  # fmt: skip
#: The same layers for two inputs, as in Caffe's siamese example.
SIAMESE = (
    DATA
    + conv("left", "data", more=SHARED)
    # Other values than data's: equal branches would cancel, and nothing would be learnt.
    + "layer { name: 'bent' type: 'Power' bottom: 'data' top: 'bent' "
    "power_param { power: 2 scale: 3 shift: -0.5 } }\n"
    + conv("right", "bent", more=SHARED)
    + conv("a", "left", more=SHARED.replace("'w'", "'v'").replace("'b'", "'c'"))
    + conv("b", "right", more=SHARED.replace("'w'", "'v'").replace("'b'", "'c'"))
    + "layer { name: 'sum' type: 'Eltwise' bottom: 'a' bottom: 'b' top: 'sum' "
    "eltwise_param { coeff: 1 coeff: -1 } }\n" + classifier("sum")
)
#: A loss written in Python, above the cut.
PYTHON = FROM_DATA.replace(
    "type: 'EuclideanLoss'",
    "type: 'Python' python_param { module: 'dualnet.layers' layer: 'EuclideanLossLayer' }",
)
STAGES = CHAIN.replace(
    'name: "chain"', 'name: "chain" state { stage: "three" }'
).replace(
    'top: "conv2" ', 'top: "conv2" include { stage: "three" } '
) + conv("deploy", "conv3", more='include { stage: "deploy" }')  # fmt: skip

TOPOLOGIES = {
    "in place on the cut": (CHAIN, "conv2", "conv3"),
    "in place on the dual output": (CHAIN, "conv1", "conv2"),
    "in-place layer in the section": (CHAIN, "conv1", "conv2 relu2"),
    "two convolutions in the section": (CHAIN, "conv1", "conv3 conv2 relu2"),
    "cut blob with a loss below": (TWO_HEADS, "conv2r", "conv3"),
    "cut blob with two readers": (TWO_HEADS, "conv2", "relu2"),
    "loss above the cut blob": (TWO_HEADS, "conv1", "conv2"),
    "dual output read in the section": (READ_TWICE, "conv1", "conv2 conv3"),
    "cut blob read above the section": (READ_TWICE, "conv2", "conv3"),
    "two branches from the cut": (TWO_WAYS, "conv1", "left"),
    "crossing blob overwritten above": (TWO_WAYS, "positive", "right"),
    "section that overwrites a crossing blob": (TWO_WAYS, "right", "sum"),
    "branch beside the cut": (TWO_WAYS, "right", "sum"),
    "two branches beside the cut": (THREE_WAYS, "b", "b2 b2_relu"),
    "label of each phase": (EACH_PHASE, "conv1", "conv2"),
    "labels in training alone": (UNLABELLED, "conv1", "conv2"),
    "truth of tests alone": (OTHER_TRUTH, "conv1", "conv2"),
    "section that reads a constant": (CONSTANTS, "conv2", "scale"),
    "section that reads a parameter": (CONSTANTS, "conv2", "scale bias"),
    "constants above the section": (CONSTANTS, "conv1", "conv2"),
    "format of 2014": (OF_2014, "conv1", "ip"),
    "data and labels above": (FROM_DATA, "conv1", "both"),
    "data above, some of it": (FROM_DATA, "both", "conv2"),
    "shared below": (SHARED_BELOW, "conv2", "conv3"),
    "section that does not learn": (SHARED_BELOW, "conv2", "conv3 relu3"),
    "shared by both branches": (SIAMESE, "left right", "a b"),
    "Python loss": (PYTHON, "conv1", "both"),
    "stages": (STAGES, "conv1", "conv2"),
}
