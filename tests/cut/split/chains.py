"""Small nets with places for several cuts, and what passes over their pieces."""

from __future__ import annotations

from tests.cut.singles import DATA, classifier, conv, relu


def add(name, *bottoms):
    """A sum."""
    reads = " ".join(f"bottom: '{bottom}'" for bottom in bottoms)
    return f"layer {{ name: '{name}' type: 'Eltwise' {reads} top: '{name}' }}\n"


#: The trap: conv1 is read by a layer that is two pieces further on.
SHORTCUT = (
    'name: "shortcut"\n' + DATA + conv("conv1", "data") + conv("conv2", "conv1")
    + conv("conv3", "conv2") + add("sum", "conv1", "conv3") + classifier("sum")
)  # fmt: skip
#: A residual net: two shortcuts, one inside the other, with activations in place.
RESIDUAL = (
    'name: "residual"\n' + DATA + conv("conv1", "data") + relu("relu1", "conv1")
    + conv("a1", "conv1") + relu("a1_relu", "a1") + conv("a2", "a1") + relu("a2_relu", "a2")
    + conv("a3", "a2") + add("inner", "a1", "a3") + relu("inner_relu", "inner")
    + conv("a4", "inner") + add("outer", "conv1", "a4") + relu("outer_relu", "outer")
    + conv("b1", "outer") + classifier("b1")
)  # fmt: skip
#: Inception: branches a and c pass over the pieces that b is cut into.
INCEPTION = (
    'name: "inception"\n' + DATA + conv("conv1", "data") + relu("relu1", "conv1")
    + conv("a", "conv1") + relu("a_relu", "a") + conv("b", "conv1") + relu("b_relu", "b")
    + conv("c", "conv1") + conv("b2", "b") + relu("b2_relu", "b2") + conv("b3", "b2")
    + relu("b3_relu", "b3") + conv("c2", "c")
    + "layer { name: 'out' type: 'Concat' bottom: 'a' bottom: 'b3' bottom: 'c2' top: 'out' }\n"
    + conv("d", "out") + classifier("d")
)  # fmt: skip
#: GoogLeNet's way: classifiers on the way up, here of the first pieces and of the last one.
AUXILIARY = (
    'name: "auxiliary"\n' + DATA + conv("conv1", "data") + relu("relu1", "conv1")
    + classifier("conv1", "ip_a", "loss_a", "loss_weight: 0.2")
    + conv("conv2", "conv1") + relu("relu2", "conv2")
    + classifier("conv2", "ip_b", "loss_b", "loss_weight: 0.3")
    + conv("conv3", "conv2") + relu("relu3", "conv3") + conv("conv4", "conv3")
    + classifier("conv4", "ip_c", "loss_c", "loss_weight: 0.1")
    + conv("conv5", "conv4") + classifier("conv5")
)  # fmt: skip
#: What training compares with is made of data and labels, and is needed at the end alone.
FROM_DATA = (
    'name: "from_data"\n' + DATA + conv("conv1", "data") + conv("conv2", "conv1")
    + "layer { name: 'both' type: 'Concat' bottom: 'conv2' bottom: 'data' top: 'both' }\n"
    + conv("conv3", "both") + classifier("conv3")
    + "layer { name: 'ip_b' type: 'InnerProduct' bottom: 'conv3' top: 'ip_b' "
    "inner_product_param { num_output: 1 weight_filler { type: 'xavier' } } }\n"
    "layer { name: 'half' type: 'Power' bottom: 'label' top: 'half' power_param { scale: 0.5 } }\n"
    "layer { name: 'column' type: 'Reshape' bottom: 'half' top: 'column' "
    "reshape_param { shape { dim: 0 dim: 1 } } }\n"
    "layer { name: 'distance' type: 'EuclideanLoss' bottom: 'ip_b' bottom: 'column' top: 'd' "
    "loss_weight: 0.01 }\n"
)  # fmt: skip

#: Name to net and cuts: (cut blobs, dual layers), from the data to the loss.
CHAINS = {
    "shortcut over a piece": (SHORTCUT, [("conv1", "conv2"), ("conv2", "conv3")]),
    "shortcuts over pieces": (RESIDUAL, [("conv1", "a1"), ("a1", "a2"), ("a2", "a3")]),
    "shortcut over two pieces": (RESIDUAL, [("a1", "a2"), ("inner", "a4"), ("outer", "b1")]),
    "section with activation": (RESIDUAL, [("conv1", "a1 a1_relu"), ("a2", "a3 inner")]),
    "branches over a piece": (INCEPTION, [("b", "b2"), ("b2", "b3")]),
    "branches cut together": (INCEPTION, [("conv1", "a b c"), ("b2 c", "b3 c2"), ("out", "d")]),
    "losses on all pieces": (
        AUXILIARY, [("conv1", "conv2"), ("conv2", "conv3"), ("conv3", "conv4")]),
    "loss on the middle piece": (AUXILIARY, [("conv1", "conv2"), ("conv3", "conv4")]),
    "data and labels above": (FROM_DATA, [("conv1", "conv2"), ("conv2", "both conv3")]),
}  # fmt: skip
