"""Every layer type that can be exported, in both formats, against the engine."""
# ruff: noqa: E501 (a table reads better with one case a line)

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from dualnet.engine.export.module import net_module
from dualnet.engine.export.onnx_file import open_onnx, write_onnx
from dualnet.engine.export.program import open_pt2, trace, write_pt2
from dualnet.engine.export.support import EXPORTED
from dualnet.engine.export.texts import ONNX_PACKAGES
from dualnet.engine.layers.registry import layer_type_list
from tests.engine.export.nets import engine_outputs, net_of, single_layer

HAS_ONNX = all(importlib.util.find_spec(package) for package in ONNX_PACKAGES)

G = 'weight_filler { type: "gaussian" std: 0.5 } bias_filler { type: "gaussian" }'
IMAGE = (2, 4, 7, 6)
SCORES = (2, 5)
FACTOR = 'filler { type: "gaussian" }'
# A pooling of 7 x 6 by 3 and 2 has windows that overhang on one side; 5 x 5 by 3 and 2 has none.
POOL = "kernel_size: 3 stride: 2"

#: Name of the case to type, the rest of the layer, and its bottoms; the number of tops where it is
#: not 1. Integers up to 4 go in where the name begins with Embed, else normal numbers.
CASES = {
    "AbsVal": ("AbsVal", "", [IMAGE]),
    "ArgMax": ("ArgMax", "argmax_param { top_k: 2 }", [IMAGE]),
    "ArgMax values": ("ArgMax", "argmax_param { top_k: 2 out_max_val: true }", [(2, 5, 3)]),
    "ArgMax axis": ("ArgMax", "argmax_param { axis: 1 top_k: 2 out_max_val: true }", [IMAGE]),
    "Axpy": ("Axpy", "", [(2, 4), IMAGE, IMAGE]),
    "BN of PSPNet": ("BN", "bn_param { eps: 0.1 frozen: true slope_filler { type: 'gaussian' } }", [IMAGE]),
    "BN of SegNet": ("BN", "bn_param { bn_mode: INFERENCE scale_filler { type: 'gaussian' } }", [IMAGE]),
    "BNLL": ("BNLL", "", [IMAGE]),
    "BatchNorm": ("BatchNorm", "batch_norm_param { eps: 0.01 }", [IMAGE]),
    "BatchNorm vectors": ("BatchNorm", "", [SCORES]),
    "Bias": ("Bias", f"bias_param {{ {FACTOR} }}", [IMAGE]),
    "Bias of a bottom": ("Bias", "bias_param { axis: 0 }", [IMAGE, (2, 4)]),
    "Clip": ("Clip", "clip_param { min: -0.5 max: 1.25 }", [IMAGE]),
    "Concat": ("Concat", "", [IMAGE, (2, 3, 7, 6)]),
    "Concat of one": ("Concat", "", [IMAGE]),
    "Convolution": ("Convolution", f"convolution_param {{ num_output: 6 kernel_size: 3 pad: 1 {G} }}", [IMAGE]),
    "Convolution groups": ("Convolution", "convolution_param { num_output: 6 kernel_size: 3 pad: 2 stride: 2 "
                           f"dilation: 2 group: 2 {G} }}", [IMAGE]),
    "Convolution 1-d": ("Convolution", f"convolution_param {{ num_output: 3 kernel_size: 3 {G} }}", [(2, 4, 9)]),
    "Convolution 3-d": ("Convolution", f"convolution_param {{ num_output: 3 kernel_size: 2 bias_term: false {G} }}",
                        [(2, 4, 5, 4, 3)]),
    "Convolution two": ("Convolution", f"convolution_param {{ num_output: 2 kernel_size: 2 {G} }}", [IMAGE, IMAGE], 2),
    "ConvolutionDepthwise": ("ConvolutionDepthwise", f"convolution_param {{ kernel_size: 3 {G} }}", [IMAGE]),
    "Crop": ("Crop", "crop_param { offset: 2 }", [IMAGE, (2, 1, 3, 2)]),
    "Deconvolution": ("Deconvolution", "convolution_param { num_output: 6 kernel_size: 4 pad: 1 stride: 2 group: 2 "
                      f"{G} }}", [IMAGE]),
    "DepthwiseConvolution": ("DepthwiseConvolution", "convolution_param { num_output: 4 group: 4 kernel_size: 3 "
                             f"{G} }}", [IMAGE]),
    "Dropout": ("Dropout", "", [IMAGE]),
    "Dropout of a fork": ("Dropout", "dropout_param { dropout_ratio: 0.3 scale_train: false }", [IMAGE]),
    "ELU": ("ELU", "elu_param { alpha: 0.4 }", [IMAGE]),
    "Eltwise sum": ("Eltwise", "eltwise_param { coeff: 2 coeff: -1 coeff: 0.5 }", [IMAGE] * 3),
    "Eltwise product": ("Eltwise", "eltwise_param { operation: PROD }", [IMAGE] * 3),
    "Eltwise maximum": ("Eltwise", "eltwise_param { operation: MAX }", [IMAGE] * 3),
    "Embed": ("Embed", f"embed_param {{ input_dim: 5 num_output: 3 {G} }}", [(2, 4)]),
    "Exp": ("Exp", "exp_param { base: 2 scale: -0.7 shift: 0.4 }", [IMAGE]),
    "Flatten": ("Flatten", "", [IMAGE]),
    "Flatten axes": ("Flatten", "flatten_param { axis: 1 end_axis: 2 }", [IMAGE]),
    "Im2col": ("Im2col", "convolution_param { kernel_size: 3 pad: 1 stride: 2 }", [IMAGE]),
    "InnerProduct": ("InnerProduct", f"inner_product_param {{ num_output: 5 {G} }}", [IMAGE]),
    "InnerProduct axis": ("InnerProduct", f"inner_product_param {{ num_output: 5 axis: 2 transpose: true {G} }}",
                          [IMAGE]),
    "InnerProduct no bias": ("InnerProduct", f"inner_product_param {{ num_output: 5 bias_term: false {G} }}", [SCORES]),
    "Interp": ("Interp", "interp_param { zoom_factor: 2 }", [IMAGE]),
    "LRN": ("LRN", "lrn_param { local_size: 3 alpha: 0.7 beta: 0.6 k: 2 }", [IMAGE]),
    "LRN wider than the channels": ("LRN", "lrn_param { local_size: 11 alpha: 0.7 }", [IMAGE]),
    "LRN within": ("LRN", "lrn_param { local_size: 3 alpha: 0.7 norm_region: WITHIN_CHANNEL }", [IMAGE]),
    "Log": ("Log", "log_param { base: 3 scale: 0.5 shift: 10 }", [IMAGE]),
    "MVN": ("MVN", "", [IMAGE]),
    "MVN across": ("MVN", "mvn_param { across_channels: true eps: 0.1 }", [IMAGE]),
    "Normalize": ("Normalize", "norm_param { scale_filler { type: 'gaussian' } channel_shared: false }", [IMAGE]),
    "PReLU": ("PReLU", f"prelu_param {{ {FACTOR} }}", [IMAGE]),
    "PReLU shared": ("PReLU", "prelu_param { channel_shared: true }", [SCORES]),
    "Permute": ("Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }", [IMAGE]),
    "Pooling max": ("Pooling", f"pooling_param {{ {POOL} }}", [IMAGE]),
    "Pooling max inside": ("Pooling", f"pooling_param {{ {POOL} }}", [(2, 4, 5, 5)]),
    "Pooling max padded": ("Pooling", f"pooling_param {{ {POOL} pad: 1 }}", [IMAGE]),
    "Pooling max padded far": ("Pooling", f"pooling_param {{ {POOL} pad: 2 }}", [IMAGE]),
    "Pooling max, stride above kernel": ("Pooling", "pooling_param { kernel_size: 1 stride: 3 }", [(2, 4, 6, 8)]),
    "Pooling max floor": ("Pooling", f"pooling_param {{ {POOL} round_mode: FLOOR }}", [IMAGE]),
    "Pooling average": ("Pooling", f"pooling_param {{ pool: AVE {POOL} }}", [IMAGE]),
    "Pooling average inside": ("Pooling", f"pooling_param {{ pool: AVE {POOL} }}", [(2, 4, 5, 5)]),
    "Pooling average padded": ("Pooling", f"pooling_param {{ pool: AVE {POOL} pad: 1 }}", [IMAGE]),
    "Pooling average padded far": ("Pooling", f"pooling_param {{ pool: AVE {POOL} pad: 2 }}", [IMAGE]),
    "Pooling average, stride above kernel": ("Pooling", "pooling_param { pool: AVE kernel_size: 1 stride: 3 }",
                                             [(2, 4, 6, 8)]),
    "Pooling average global": ("Pooling", "pooling_param { pool: AVE global_pooling: true }", [IMAGE]),
    "Pooling stochastic": ("Pooling", f"pooling_param {{ pool: STOCHASTIC {POOL} }}", [IMAGE]),
    "Power": ("Power", "power_param { power: 2 scale: 3 shift: -1 }", [IMAGE]),
    "Power line": ("Power", "power_param { scale: -2 shift: 0.5 }", [IMAGE]),
    "Power flat": ("Power", "power_param { power: 3 scale: 0 shift: 2 }", [IMAGE]),
    "ReLU": ("ReLU", "", [IMAGE]),
    "ReLU slope": ("ReLU", "relu_param { negative_slope: 0.2 }", [IMAGE]),
    "ReLU6": ("ReLU6", "", [IMAGE]),
    "Reduction sum": ("Reduction", "reduction_param { axis: 1 coeff: -0.5 }", [IMAGE]),
    "Reduction asum": ("Reduction", "reduction_param { operation: ASUM axis: 2 coeff: 2 }", [IMAGE]),
    "Reduction sumsq": ("Reduction", "reduction_param { operation: SUMSQ axis: -1 }", [IMAGE]),
    "Reduction mean": ("Reduction", "reduction_param { operation: MEAN axis: 1 coeff: 2 }", [IMAGE]),
    "Reshape": ("Reshape", "reshape_param { shape { dim: 0 dim: 2 dim: -1 } }", [IMAGE]),
    "Reshape axes": ("Reshape", "reshape_param { shape { dim: 2 dim: 0 dim: -1 } axis: 1 num_axes: 2 }", [IMAGE]),
    "Reshape end": ("Reshape", "reshape_param { shape { dim: 1 dim: 1 } axis: -1 num_axes: 0 }", [IMAGE]),
    "SPP": ("SPP", "spp_param { pyramid_height: 3 }", [(2, 3, 9, 11)]),
    "SPP average": ("SPP", "spp_param { pyramid_height: 2 pool: AVE }", [(2, 3, 7, 10)]),
    "SPP one": ("SPP", "spp_param { pyramid_height: 1 }", [IMAGE]),
    "Scale": ("Scale", f"scale_param {{ bias_term: true {FACTOR} bias_{FACTOR} }}", [IMAGE]),
    "Scale of a bottom": ("Scale", "scale_param { axis: 0 }", [IMAGE, (2, 4)]),
    "ShuffleChannel": ("ShuffleChannel", "shuffle_channel_param { group: 2 }", [IMAGE]),
    "Sigmoid": ("Sigmoid", "", [IMAGE]),
    "Slice": ("Slice", "slice_param { slice_point: 1 slice_point: 3 }", [IMAGE], 3),
    "Softmax": ("Softmax", "", [IMAGE]),
    "Split": ("Split", "", [IMAGE], 2),
    "Swish": ("Swish", "swish_param { beta: 1.7 }", [IMAGE]),
    "TanH": ("TanH", "", [IMAGE]),
    "Threshold": ("Threshold", "threshold_param { threshold: 0.3 }", [IMAGE]),
    "Tile": ("Tile", "tile_param { tiles: 3 }", [IMAGE]),
    "Upsample": ("Upsample", "upsample_param { scale: 2 }", [IMAGE]),
}  # fmt: skip


def net_of_all():
    """One net of all cases side by side: an export for each would take minutes."""
    text = ""
    for case, (kind, param, shapes, *tops) in CASES.items():
        text += single_layer(f'type: "{kind}" {param}', shapes, *tops, name=case)
    net = net_of(text)
    for case in ("BatchNorm", "BatchNorm vectors"):  # statistics, which no filler makes
        mean, variance, factor = net.params[case]
        mean.data[...] = np.random.rand(*mean.shape)
        variance.data[...] = np.random.rand(*variance.shape) + 0.5
        factor.data[...] = 0.7
    return net


def inputs_of_all(batch):
    """Values for every input, in the order of the net."""
    found = []
    for case, (_, _, shapes, *_) in CASES.items():
        for _, *dims in shapes:
            shape = (batch, *dims)
            is_number = case.startswith("Embed")
            made = np.random.randint(0, 5, shape) if is_number else np.random.randn(*shape)
            found.append(made.astype(np.float32))
    return found


@pytest.fixture(scope="module")
def traced():
    """The module of all cases, and its program."""
    np.random.seed(4)
    net = net_of_all()
    module = net_module(net, net.outputs)
    return module, trace(module)


@pytest.fixture(scope="module", params=[".pt2", ".onnx"])
def results(request, tmp_path_factory, traced):
    """What the exported net and the engine make of batches of several sizes."""
    if request.param == ".onnx" and not HAS_ONNX:
        pytest.skip("the extra dualnet[onnx] is not installed")
    path = str(tmp_path_factory.mktemp("export") / f"net{request.param}")
    module, program = traced
    if request.param == ".pt2":
        write_pt2(program, path, {})
        run = open_pt2(path)
    else:
        write_onnx(program, path, module.input_names, module.output_names, {})
        run = open_onnx(path)
    np.random.seed(4)
    judge = net_of_all()
    pairs = []
    for batch in (1, 2, 5):
        inputs = inputs_of_all(batch)
        pairs.append((run(inputs), engine_outputs(judge, inputs, module.output_names)))
    return pairs


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_gives_what_the_engine_gives(case, results):
    for found, expected in results:
        assert set(found) == set(expected)
        names = [name for name in expected if name.rpartition("y")[0] == case]
        assert len(names) == (CASES[case][3:] or (1,))[0]
        for name in names:
            assert found[name].shape == expected[name].shape and found[name].dtype == np.float32
            np.testing.assert_allclose(found[name], expected[name], 1e-5, 1e-6, err_msg=name)


def test_every_type_has_a_case():
    assert {case[0] for case in CASES.values()} == EXPORTED - {"Input", "Parameter", "Silence"}


def test_every_type_exists():
    assert set(layer_type_list()) >= EXPORTED
