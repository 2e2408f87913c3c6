"""Layers to compare with BVLC Caffe: one line each.

A case names the layer's message (without name, bottoms, tops) and its bottoms. A bottom is a shape
(standard normal values) or a `Labels` (integers below `classes`), which gets no gradient.
"""
# ruff: noqa: E501 (a table reads better with one case a line)

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

__all__ = ["CASES", "TOLERANCE", "Case", "Labels"]

#: Largest difference, relative and absolute, of any case.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Labels:
    """A bottom of class labels."""

    shape: tuple[int, ...]
    classes: int


@dataclass(frozen=True)
class Case:
    """One layer to compare.

    Attributes:
        name: names the test.
        text: the inside of the layer's message.
        bottoms: shapes or labels.
        tops: how many tops.
        in_place: top 0 is bottom 0.
        backward: whether to compare gradients too.
        phase: 0 TRAIN, 1 TEST.
    """

    name: str
    text: str
    bottoms: tuple[Union[tuple[int, ...], Labels], ...]
    tops: int = 1
    in_place: bool = False
    backward: bool = True
    phase: int = 0


G = 'weight_filler { type: "gaussian" std: 0.5 } bias_filler { type: "gaussian" }'
IMAGE = (2, 4, 7, 6)
SCORES = (4, 5)
LABEL = Labels((4,), 5)

CASES = [
    Case("conv", f'type: "Convolution" convolution_param {{ num_output: 6 kernel_size: 3 {G} }}', (IMAGE,)),
    Case("conv_group", 'type: "Convolution" convolution_param { num_output: 6 kernel_size: 3 pad: 2 stride: 2 '
         f"dilation: 2 group: 2 {G} }}", (IMAGE,)),
    Case("conv_hw", "type: 'Convolution' convolution_param { num_output: 3 kernel_h: 1 kernel_w: 5 pad_h: 0 "
         f"pad_w: 2 stride_h: 2 stride_w: 1 {G} }}", (IMAGE,)),
    Case("conv_two", f'type: "Convolution" convolution_param {{ num_output: 2 kernel_size: 2 {G} }}',
         (IMAGE, IMAGE), tops=2),
    Case("deconv", 'type: "Deconvolution" convolution_param { num_output: 6 kernel_size: 4 pad: 1 stride: 2 '
         f"group: 2 {G} }}", (IMAGE,)),
    Case("max", 'type: "Pooling" pooling_param { kernel_size: 3 stride: 2 }', (IMAGE,)),
    Case("max_mask", 'type: "Pooling" pooling_param { kernel_size: 2 stride: 2 pad: 1 }', (IMAGE,), tops=2,
         backward=False),
    Case("max_pad", 'type: "Pooling" pooling_param { kernel_size: 3 stride: 2 pad: 2 }', (IMAGE,)),
    Case("max_floor", 'type: "Pooling" pooling_param { kernel_size: 3 stride: 2 round_mode: FLOOR }', (IMAGE,)),
    Case("ave", 'type: "Pooling" pooling_param { pool: AVE kernel_size: 3 stride: 2 }', (IMAGE,)),
    Case("ave_pad", 'type: "Pooling" pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 2 }', (IMAGE,)),
    Case("ave_global", 'type: "Pooling" pooling_param { pool: AVE global_pooling: true }', (IMAGE,)),
    Case("relu", 'type: "ReLU"', (IMAGE,)),
    Case("relu_slope", 'type: "ReLU" relu_param { negative_slope: 0.2 }', (IMAGE,)),
    Case("sigmoid", 'type: "Sigmoid"', (IMAGE,)),
    Case("tanh", 'type: "TanH"', (IMAGE,)),
    Case("lrn", 'type: "LRN" lrn_param { local_size: 3 alpha: 0.7 beta: 0.6 k: 2 }', (IMAGE,)),
    Case("lrn_within", 'type: "LRN" lrn_param { local_size: 3 alpha: 0.7 norm_region: WITHIN_CHANNEL }', (IMAGE,)),
    Case("ip", f'type: "InnerProduct" inner_product_param {{ num_output: 5 {G} }}', (IMAGE,)),
    Case("ip_transpose", f'type: "InnerProduct" inner_product_param {{ num_output: 5 axis: 2 transpose: true {G} }}',
         (IMAGE,)),
    Case("dropout_test", 'type: "Dropout"', (IMAGE,), phase=1),
    Case("softmax", 'type: "Softmax"', (IMAGE,)),
    Case("softmax_loss", 'type: "SoftmaxWithLoss"', (SCORES, LABEL)),
    Case("softmax_loss_ignore", 'type: "SoftmaxWithLoss" loss_weight: 2 loss_param { ignore_label: 1 }',
         ((2, 5, 3, 3), Labels((2, 1, 3, 3), 5))),
    Case("euclidean", 'type: "EuclideanLoss"', (IMAGE, IMAGE)),
    Case("accuracy", 'type: "Accuracy" accuracy_param { top_k: 2 }', (SCORES, LABEL), tops=2, backward=False),
    Case("split", 'type: "Split"', (IMAGE,), tops=3),
    Case("concat", 'type: "Concat" concat_param { axis: 2 }', (IMAGE, IMAGE)),
    Case("flatten", 'type: "Flatten" flatten_param { axis: 1 end_axis: 2 }', (IMAGE,)),
    Case("sum", 'type: "Eltwise" eltwise_param { coeff: 2 coeff: -1 coeff: 0.5 }', (IMAGE, IMAGE, IMAGE)),
    Case("prod", 'type: "Eltwise" eltwise_param { operation: PROD }', (IMAGE, IMAGE, IMAGE)),
    Case("maximum", 'type: "Eltwise" eltwise_param { operation: MAX }', (IMAGE, IMAGE, IMAGE)),
    Case("batch_norm", 'type: "BatchNorm"', (IMAGE,)),
    Case("batch_norm_test", 'type: "BatchNorm"', (IMAGE,), phase=1),
    Case("scale", 'type: "Scale" scale_param { bias_term: true filler { type: "gaussian" } '
         'bias_filler { type: "gaussian" } }', (IMAGE,)),
    Case("scale_two", 'type: "Scale" scale_param { axis: 1 }', (IMAGE, (4, 7))),
    Case("bias", 'type: "Bias" bias_param { axis: 2 num_axes: 2 filler { type: "gaussian" } }', (IMAGE,)),
]  # fmt: skip

# Sequences, and blobs of other shapes. With force_backward Caffe would abort at Embed, BatchReindex
# and Filter: their gradients, and states over several passes, are compared in
# test_chains_against_bvlc.py.
H = "num_output: 3 " + G
STEPS, CONT, STATIC, STATE = (4, 2, 5), Labels((4, 2), 2), (2, 3, 2), (1, 2, 3)
CASES += [
    Case("rnn", f'type: "RNN" recurrent_param {{ {H} }}', (STEPS, CONT)),
    Case("rnn_static", f'type: "RNN" recurrent_param {{ {H} }}', (STEPS, CONT, STATIC)),
    Case("rnn_exposed", f'type: "RNN" recurrent_param {{ {H} expose_hidden: true }}', (STEPS, CONT, STATE), tops=2),
    Case("lstm", f'type: "LSTM" recurrent_param {{ {H} }}', (STEPS, CONT)),
    Case("lstm_image", f'type: "LSTM" recurrent_param {{ {H} }}', ((3, 2, 2, 3, 1), Labels((3, 2), 2))),
    Case("lstm_static", f'type: "LSTM" recurrent_param {{ {H} }}', (STEPS, CONT, STATIC), phase=1),
    Case("lstm_exposed", f'type: "LSTM" recurrent_param {{ {H} expose_hidden: true }}', (STEPS, CONT, STATE, STATE),
         tops=3),
    Case("lstm_static_exposed", f'type: "LSTM" recurrent_param {{ {H} expose_hidden: true }}',
         (STEPS, CONT, STATIC, STATE, STATE), tops=3),
    Case("lstm_unit", 'type: "LSTMUnit"', ((1, 4, 3), (1, 4, 12), Labels((1, 4), 2)), tops=2),
    Case("reshape", 'type: "Reshape" reshape_param { shape { dim: 2 dim: 0 dim: -1 } axis: 1 num_axes: 2 }', (IMAGE,)),
    Case("reshape_end", 'type: "Reshape" reshape_param { shape { dim: 1 dim: 1 } axis: -1 num_axes: 0 }', (IMAGE,)),
    Case("reshape_scalar", 'type: "Reshape" reshape_param { shape { } }', ((1, 1),)),
    Case("slice", 'type: "Slice" slice_param { axis: -2 slice_point: 1 slice_point: 4 }', (IMAGE,), tops=3),
    Case("slice_dim", 'type: "Slice" slice_param { slice_dim: 1 }', (IMAGE,), tops=2),
    Case("slice_one", 'type: "Slice"', (IMAGE,)),
    Case("reduction_sum", 'type: "Reduction" reduction_param { coeff: -0.5 }', (IMAGE,)),
    Case("reduction_asum", 'type: "Reduction" reduction_param { operation: ASUM axis: 2 coeff: 2 }', (IMAGE,)),
    Case("reduction_sumsq", 'type: "Reduction" reduction_param { operation: SUMSQ axis: -1 coeff: 3 }', (IMAGE,)),
    Case("reduction_mean", 'type: "Reduction" reduction_param { operation: MEAN axis: 1 coeff: 2 }', (IMAGE,)),
    Case("tile", 'type: "Tile" tile_param { tiles: 3 }', (IMAGE,)),
    Case("tile_last", 'type: "Tile" tile_param { axis: -1 tiles: 2 }', (IMAGE,)),
    Case("crop", 'type: "Crop" crop_param { offset: 2 }', (IMAGE, (1, 1, 3, 2))),
    Case("crop_offsets", 'type: "Crop" crop_param { axis: -3 offset: 1 offset: 0 offset: 4 }', (IMAGE, (9, 3, 5, 2))),
    Case("crop_plain", 'type: "Crop"', (IMAGE, (2, 4, 7, 1))),
    Case("argmax", 'type: "ArgMax"', (IMAGE,), backward=False),
    Case("argmax_values", 'type: "ArgMax" argmax_param { out_max_val: true top_k: 3 }', (Labels(IMAGE, 9),), backward=False),
    Case("argmax_axis", 'type: "ArgMax" argmax_param { axis: -2 top_k: 4 }', (Labels(IMAGE, 4),), backward=False),
    Case("argmax_axis_values", 'type: "ArgMax" argmax_param { axis: 1 top_k: 2 out_max_val: true }', (IMAGE,),
         backward=False),
    Case("embed", f'type: "Embed" embed_param {{ input_dim: 5 num_output: 3 {G} }}', (Labels((3, 2), 5),), backward=False),
    Case("batch_reindex", 'type: "BatchReindex"', (IMAGE, Labels((5,), 2)), backward=False),
    Case("filter", 'type: "Filter"', ((6, 2), (6, 3, 1), Labels((6, 1, 1), 2)), tops=2, backward=False),
    Case("spp", 'type: "SPP" spp_param { pyramid_height: 3 }', ((2, 3, 9, 11),)),
    Case("spp_one", 'type: "SPP" spp_param { pyramid_height: 1 }', (IMAGE,)),
    Case("spp_ave", 'type: "SPP" spp_param { pyramid_height: 3 pool: AVE }', ((2, 3, 7, 10),)),
    Case("im2col", 'type: "Im2col" convolution_param { kernel_size: 3 pad: 1 stride: 2 dilation: 2 }', (IMAGE,)),
    Case("im2col_hw", 'type: "Im2col" convolution_param { kernel_h: 2 kernel_w: 3 pad_h: 0 pad_w: 2 stride_h: 3 '
         "stride_w: 1 }", (IMAGE,)),
    Case("im2col_1d", 'type: "Im2col" convolution_param { kernel_size: 3 axis: -2 stride: 2 pad: 1 }', ((2, 2, 3, 8),)),
    Case("im2col_3d", 'type: "Im2col" convolution_param { kernel_size: 2 kernel_size: 3 kernel_size: 1 pad: 1 pad: 0 '
         "pad: 2 stride: 2 }", ((2, 2, 4, 5, 3),)),
]  # fmt: skip

# Neurons and losses. In-place cases are those whose gradient BVLC Caffe gets right in place.
PAIR = Labels((4,), 2)
NEAR = "contrastive_loss_param { margin: 4"
CASES += [
    Case("absval", 'type: "AbsVal"', (IMAGE,)),
    Case("bnll", 'type: "BNLL"', (IMAGE,)),
    Case("clip", 'type: "Clip" clip_param { min: -0.5 max: 1.25 }', (IMAGE,)),
    Case("threshold", 'type: "Threshold" threshold_param { threshold: 0.3 }', (IMAGE,), backward=False),
    Case("elu", 'type: "ELU" elu_param { alpha: 0.4 }', (IMAGE,)),
    Case("elu_in_place", 'type: "ELU"', (IMAGE,), in_place=True),
    Case("exp", 'type: "Exp" exp_param { base: 2 scale: -0.7 shift: 0.4 }', (IMAGE,)),
    Case("exp_e_in_place", 'type: "Exp" exp_param { shift: -1 }', (IMAGE,), in_place=True),
    Case("log", 'type: "Log" log_param { base: 3 scale: 0.5 shift: 10 }', (IMAGE,)),
    Case("log_e", 'type: "Log" log_param { scale: -0.5 shift: 10 }', (IMAGE,)),
    Case("power", 'type: "Power" power_param { power: -1.5 scale: 0.5 shift: 10 }', (IMAGE,)),
    Case("power_square", 'type: "Power" power_param { power: 2 scale: 3 shift: -1 }', (IMAGE,)),
    Case("power_cube", 'type: "Power" power_param { power: 3 }', (IMAGE,)),
    Case("power_line", 'type: "Power" power_param { scale: -2 shift: 0.5 }', (IMAGE,)),
    Case("power_zero", 'type: "Power" power_param { power: 0 scale: 3 }', (IMAGE,)),
    Case("power_flat", 'type: "Power" power_param { power: 3 scale: 0 shift: 2 }', (IMAGE,)),
    Case("prelu", 'type: "PReLU" prelu_param { filler { type: "gaussian" } }', (IMAGE,)),
    Case("prelu_shared", 'type: "PReLU" prelu_param { channel_shared: true }', (SCORES,)),
    Case("prelu_in_place", 'type: "PReLU" prelu_param { filler { type: "gaussian" } }', (IMAGE,), in_place=True),
    Case("swish", 'type: "Swish" swish_param { beta: 1.7 }', (IMAGE,)),
    Case("swish_in_place", 'type: "Swish"', (IMAGE,), in_place=True),
    Case("mvn", 'type: "MVN"', (IMAGE,)),
    Case("mvn_across", 'type: "MVN" mvn_param { across_channels: true eps: 0.1 }', (IMAGE,), phase=1),
    Case("mvn_mean", 'type: "MVN" mvn_param { normalize_variance: false }', (IMAGE,)),
    Case("mvn_vectors", 'type: "MVN" mvn_param { across_channels: true }', (SCORES,)),
    Case("contrastive", f'type: "ContrastiveLoss" {NEAR} }}', (SCORES, SCORES, PAIR)),
    Case("contrastive_legacy", f'type: "ContrastiveLoss" loss_weight: 3 {NEAR}0 legacy_version: true }}',
         (SCORES, (4, 5, 1, 1), PAIR)),
    Case("hinge", 'type: "HingeLoss"', (SCORES, LABEL)),
    Case("hinge_l2", 'type: "HingeLoss" loss_weight: 0.5 hinge_loss_param { norm: L2 }', ((4, 2, 3), LABEL)),
    Case("infogain_two", 'type: "InfogainLoss" loss_weight: 2 loss_weight: 0 infogain_loss_param { axis: 2 } '
         "loss_param { normalization: FULL ignore_label: 1 }", ((2, 2, 3), Labels((2, 2), 3), (3, 3)), tops=2,
         backward=False),
    Case("cross_entropy", 'type: "SigmoidCrossEntropyLoss"', (SCORES, Labels((4, 5), 2))),
    Case("cross_entropy_real", 'type: "SigmoidCrossEntropyLoss"', (SCORES, SCORES)),
    *(Case(f"cross_entropy_{mode.lower()}", 'type: "SigmoidCrossEntropyLoss" loss_weight: 2 loss_param { '
           f"ignore_label: 1 normalization: {mode} }}", (SCORES, Labels((4, 5), 2)))
      for mode in ("FULL", "VALID", "BATCH_SIZE", "NONE")),
    Case("cross_entropy_legacy", 'type: "SigmoidCrossEntropyLoss" loss_param { normalize: true ignore_label: 0 }',
         (SCORES, SCORES)),
]  # fmt: skip
