"""Names of Caffe's forks that the engine does not have: layer types, fields and values.

A public prototxt that needs one is refused by a line that names the fork, so that the reader knows
what the file was written for. What the engine has (layers/forks/) is not listed. Read off the
forks' caffe.proto and registered layers; of a name that many forks share, the first two are kept.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

__all__ = ["LAYERS", "owners_of", "owners_of_layer"]


class Fork(NamedTuple):
    """A fork of Caffe.

    Attributes:
        name: what people call it.
        repository: where it is.
        text: `layers: TYPE …`, then `MESSAGE: FIELD_OR_VALUE …`, a line each, long ones wrapped.
    """

    name: str
    repository: str
    text: str


_FORKS = (
    Fork(
        "SSD",
        "weiliu89/caffe",
        """
        layers: AnnotatedData DetectionEvaluate DetectionOutput MultiBoxLoss VideoData
        LayerParameter: annotated_data_param detection_evaluate_param detection_output_param
            multibox_loss_param video_data_param
        PriorBoxParameter: CENTER_SIZE CORNER CORNER_SIZE
        SolverParameter: ap_version eval_type plateau_winsize show_per_class_result
        SolverState: iter_last_event minimum_loss
        TransformationParameter: crop_h crop_w distort_param emit_constraint expand_param
            noise_param resize_param
    """,
    ),
    Fork(
        "R-FCN",
        "daijifeng001/caffe-rfcn",
        """
        layers: BoxAnnotatorOHEM SmoothL1LossOHEM SoftmaxWithLossOHEM
        LayerParameter: box_annotator_ohem_param
        LossParameter: PRE_FIXED pre_fixed_normalizer
    """,
    ),
    Fork(
        "DeepLab",
        "deeplab-public-ver2",
        """
        layers: AdaptiveBiasChannel BiasChannel DenseCRF DomainTransform
            DomainTransformForwardOnly ImageSegData MatRead MatWrite SegAccuracy SpatialProduct
            UniqueLabel
        BatchNormParameter: update_global_stats
        ImageDataParameter: IMAGE NONE PIXEL ignore_label label_type
        LayerParameter: adaptive_bias_channel_param bias_channel_param dense_crf_param
            domain_transform_param mat_read_param mat_write_param seg_accuracy_param
            unique_label_param
        TransformationParameter: crop_height crop_width scale_factors
    """,
    ),
    Fork(
        "PSPNet",
        "hszhao/PSPNet",
        """
        layers: AdaptiveBiasChannel BiasChannel DenseCRF DomainTransform
            DomainTransformForwardOnly ImageSegData MatRead MatWrite SegAccuracy SpatialProduct
            UniqueLabel
        BatchNormParameter: update_global_stats
        ImageDataParameter: IMAGE NONE PIXEL ignore_label label_type
        LayerParameter: adaptive_bias_channel_param bias_channel_param dense_crf_param
            domain_transform_param mat_read_param mat_write_param seg_accuracy_param
            unique_label_param
        TransformationParameter: crop_height crop_width scale_factors
    """,
    ),
    Fork(
        "TSN",
        "yjxiong/caffe",
        """
        layers: BatchReduction Gather Scatter SegData SyncBN VideoData
        ConvolutionParameter: dilation_h dilation_w
        DataParameter: shuffle
        EltwiseParameter: STOCHASTIC_SUM
        LayerParameter: batch_reduction_param seg_data_param video_data_param
        NetParameter: mem_param
        ReductionParameter: TOPK k
        SolverParameter: group_id richness
        TransformationParameter: fix_crop is_flow max_distort more_fix_crop multi_scale
            original_image scale_ratios stride upper_height upper_size upper_width
    """,
    ),
    Fork(
        "NVIDIA",
        "NVIDIA/caffe",
        """
        layers: AnnotatedData DetectNetTransformation DetectionEvaluate DetectionOutput L1Loss
            MultiBoxLoss TRT
        BatchNormParameter: CAFFE CUDNN DEFAULT bias_filler engine scale_bias scale_filler
        BlobProto: raw_data raw_data_type raw_diff raw_diff_type
        ConvolutionParameter: FINDEX GET conv_algos_override cudnn_convolution_algo_seeker
        DataParameter: cache parser_threads precache shuffle threads
        Datum: record_id
        DropoutParameter: CAFFE CUDNN DEFAULT engine random_seed
        ELUParameter: lambda
        ImageDataParameter: cache dataset_share_per_node precache short_side threads
        LayerParameter: annotated_data_param backward_math backward_type cudnn_math_override
            debug detection_evaluate_param detection_output_param detectnet_augmentation_param
            detectnet_groundtruth_param forward_math forward_type multibox_loss_param trt_param
        LossParameter: label_smoothing
        NetParameter: default_backward_math default_backward_type default_conv_algos_override
            default_cudnn_math_override default_forward_math default_forward_type
            eltwise_mem_sharing global_grad_scale global_grad_scale_adaptive reduce_buckets
        PoolingParameter: torch_pooling
        PriorBoxParameter: CENTER_SIZE CORNER CORNER_SIZE
        SolverParameter: SAG ap_version eval_type larc larc_eta larc_policy larc_turbo
            max_momentum max_weight_decay min_lr momentum_policy momentum_power
            per_parameter_reduce plateau_winsize rampup_interval rampup_lr show_per_class_result
            solver_data_type store_blobs_in_old_format test_and_snapshot_last_epochs
            weight_decay_policy weight_decay_power
        SolverState: iter_last_event minimum_loss
        TransformationParameter: INTER_AREA INTER_CUBIC INTER_LINEAR INTER_NEAREST allow_upscale
            crop_h crop_w display distort_param emit_constraint expand_param forward_packing
            horizontal_stretch_lower horizontal_stretch_upper img_rand_resize_lower
            img_rand_resize_upper interpolation_algo_down interpolation_algo_up noise_param
            num_labels rand_resize_ratio_lower rand_resize_ratio_upper random_seed resize_param
            use_gpu_transform vertical_stretch_lower vertical_stretch_upper
    """,
    ),
    Fork(
        "Intel",
        "intel/caffe",
        """
        layers: BoxAnnotatorOHEM BoxData EvalDetection MKLBatchNorm MnActivation RegionLoss
            Reorg SmoothL1LossOHEM SoftmaxWithLossOHEM SpatialDropout
        BatchNormParameter: CAFFE DEFAULT MKL2017 MKLDNN bias_filler bias_term engine filler
            relu stats_batch_size use_weight_bias
        ConcatParameter: CAFFE DEFAULT MKL2017 MKLDNN engine per_fla_fuse
        ConvolutionParameter: MKL2017 MKLDNN NONE_FUSION SUM_FUSION coeff conv_algorithm
            fusion_type negative_slope relu
        DataParameter: side
        EltwiseParameter: CAFFE DEFAULT MKL2017 MKLDNN engine
        FillerParameter: scale
        ImageDataParameter: min_height min_width
        InnerProductParameter: CAFFE CUDNN DEFAULT MKLDNN engine negative_slope relu
        LRNParameter: MKL2017 MKLDNN
        LayerParameter: box_annotator_ohem_param engine eval_detection_param mn_activation_param
            mn_grad_compress_param multinode quantization_param region_loss_param reorg_param
            spatial_dropout_param split_param
        LossParameter: PRE_FIXED label_smoothing pre_fixed_normalizer
        NetParameter: bn_stats_batch_size compile_net_state engine multinode
        PoolingParameter: MKL2017 MKLDNN avg_include_pad axis kernel_size_3d pad_3d stride_3d
        ROIPoolingParameter: pooled_size
        ReLUParameter: MKL2017 MKLDNN fuse
        ReshapeParameter: pixelshuffler
        SolverParameter: disabled_update engine local_gw_ratio local_lr_auto stageiter stagelr
            test_offset warmup_iter warmup_start_lr
        TransformationParameter: bgr2rgb flow pad random_aspect_ratio_param random_resize_param
    """,
    ),
    Fork(
        "Microsoft",
        "Microsoft/caffe",
        """
        LayerParameter: mil_data_param mil_param
    """,
    ),
    Fork(
        "FlowNet 2",
        "lmb-freiburg/flownet2",
        """
        layers: Accum BlackAugmentation ChannelNorm Correlation Correlation1D CustomData
            DataAugmentation DisparityData Downsample FLOWriter FloatReader FloatWriter
            FlowAugmentation FlowWarp GenerateAugmentationParameters ImgReader ImgWriter L1Loss
            LpqLoss Mean NegReLU PFMWriter Resample
        DataParameter: BOOL1 FIRST_PERMUTE_THEN_RANGE FIRST_RANGE_THEN_PERMUTE UINT16FLOW UINT8
            block_size disk_reader_threads encoding huge_video_dataset limit_samples
            permute_every_iter preselection_file preselection_label rand_permute
            rand_permute_order rand_permute_seed range_end range_start slice_point subtract
            verbose
        FillerParameter: diag_val
        LayerParameter: accum_param augmentation_param black_augmentation_param
            coeff_schedule_param correlation_param downsample_param flow_warp_param
            l1_loss_param lpq_loss_param mean_param reader_param resample_param
            reshape_every_iter writer_param
    """,
    ),
    Fork(
        "MobileNet-YOLO",
        "eric612/MobileNet-YOLO",
        """
        layers: AssistedExcitation GaussianYolov3 LaneData RegionLoss Reorg SegmentationEvaluate
            YoloDetectionOutput YoloSeg Yolov3 Yolov3DetectionOutput
        Datum: seg_label
        LayerParameter: region_loss_param reorg_param segmentation_evaluate_param
            yolo_detection_output_param yolo_seg_param yolov3_detection_output_param
            yolov3_param
        SolverParameter: stageiter stagelr
        TransformationParameter: apply_probability contrast_brightness_adjustment cvt_bgr2rgb
            debug_params enable_classf_aug max_brightness_shift max_color_shift max_contrast
            max_rotation_angle max_scaling_factor max_smooth min_contrast min_scaling_factor
            min_side min_side_max min_side_min smooth_filtering
        V1LayerParameter: RELU6 relu6_param
    """,
    ),
    Fork(
        "caffe-face",
        "ydwen/caffe-face",
        """
        layers: CenterLoss
        LayerParameter: center_loss_param
    """,
    ),
    Fork(
        "SphereFace",
        "wy1iu/sphereface",
        """
        layers: MarginInnerProduct
    """,
    ),
    Fork(
        "HED",
        "s9xie/hed",
        """
        layers: ImageLabelmapData ImageMultLabelData Quantize Rescale SigmoidEuclideanLoss
        LayerParameter: rescale_param
        V1LayerParameter: CROP SIGMOID_EUCLIDEAN_LOSS SOFTMAX_WITH_LOSS5
    """,
    ),
    Fork(
        "video-triplet",
        "xiaolonw/caffe-video_triplet",
        """
        layers: Norm RankHardLoss
        ImageDataParameter: pair_size
        LayerParameter: rank_param
        V1LayerParameter: NORM RANK_HARD_LOSS rank_param
    """,
    ),
    Fork(
        "ParseNet",
        "weiliu89/caffe, branch fcn",
        """
        BNParameter: across_spatial decay moving_average var_eps
        ConvolutionParameter: filter_stride filter_stride_h filter_stride_w
        DataParameter: DATUMFILE shuffle_buffer_size
        LayerParameter: parse_evaluate_param unpooling_param
        NormalizeParameter: fix_scale
        PoolingParameter: bin_h bin_size bin_w
        SolverParameter: log_avg_gradient_norm test_before_snapshot
        TransformationParameter: random_90_deg_rot vertical_mirror
        V1LayerParameter: CROP PARSE_EVALUATE PARSE_OUTPUT
    """,
    ),
    Fork(
        "caffe-windows",
        "happynear/caffe-windows",
        """
        layers: Arccos BatchContrastiveLoss CenterLoss ChannelScale ConfidencePenaltyLoss
            CorrelationLoss Cosine FCNAccuracy Flip FocalLoss GeneralContrastiveLoss
            GeneralTripletLoss GlobalLSEMargin Gram Hotspot InnerDistance Insanity
            LabelSpecificAdd LargeMarginInnerProduct Local MarginInnerProduct MovingNormalize
            MultiLabelImageData NCALoss Noise Pairwise PredictBox Proposal Resize Slope
            SoftContrastiveLoss SoftTruncation SubRegion Transformer TripletLoss Truncation
        AccuracyParameter: min_is_better
        BatchNormParameter: CUDNN disable_mean disable_variance scale_filler
        ConvolutionParameter: FINDEX GET cudnn_convolution_algo_seeker shape_offset
        DropoutParameter: sqrt_scale
        EltwiseParameter: SORT
        FillerParameter: alpha
        ImageDataParameter: balance_by balance_class face_mirror face_point_num face_transform
            label_cut_end label_cut_start max_aspect_ratio max_random_scale max_random_shift
            max_rotate_angle max_shear_ratio min_random_scale
        InnerProductParameter: normalize
        LayerParameter: batch_contrastive_loss_param center_loss_param channel_scale_param
            confidence_penalty_loss_param eltwise_affine_param fcn_data_param
            feature_decay_loss_param flip_param focal_loss_param general_contrastive_loss_param
            general_triplet_loss_param hotspot_param infimum_loss_param inner_distance_param
            insanity_param label_specific_add_param label_specific_affine_param
            label_specific_hard_margin_param label_specific_margin_param
            label_specific_rescale_param largemargin_inner_product_param local_param
            margin_inner_product_param mil_data_param mil_param nca_param noise_param
            normalize_param ordinal_regression_loss_param pairwise_param predict_box_param
            proposal_param resize_param smoothl1_param soft_contrastive_loss_param
            soft_truncation_param sub_region_param triplet_loss_param truncation_param
        MemoryDataParameter: transpose
        NormalizeParameter: bp_norm fix_gradient normalize_type
        ParameterParameter: blob_filler
        PoolingParameter: DEF DEF_ALL DEF_ALL2 DEF_ALL3 DEF_ALL4 LOWRES blobs_a_min blobs_lr
        ScaleParameter: max_value min_value
        SoftmaxParameter: class_weight cutting_point hard_mining_label hard_ratio
            label_smooth_factor normalize_type
        SolverParameter: clamp_weights_lower clamp_weights_upper clip_weights
        TransformationParameter: aspect_max aspect_min center_crop erase_ratio scale_max
            scale_min
        V1LayerParameter: BATCH_NORM BN ELTWISE_AFFINE INSANITY LOCAL NORMALIZE ROIPOOLING
            TRIPLET_LOSS bn_param eltwise_affine_param insanity_param local_param noise_param
            prelu_param roi_pooling_param sub_region_param triplet_loss_param
    """,
    ),
    Fork(
        "OpenPose",
        "CMU-Perceptual-Computing-Lab/caffe_train",
        """
        layers: CPMData ImResize Nms
    """,
    ),
)


def _index() -> dict[tuple[str, str], list[str]]:
    """(message or "layers", name) to the forks that have it, in words."""
    found: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for fork in _FORKS:
        message = ""
        for word in fork.text.split():
            if word.endswith(":"):
                message = word[:-1]
            else:
                found[message, word].append(f"{fork.name} ({fork.repository})")
    return dict(found)


_OWNERS = _index()
#: Layer types that some fork has and the engine has not.
LAYERS = frozenset(name for message, name in _OWNERS if message == "layers")


def owners_of_layer(kind: str) -> str:
    """The forks that have a layer type, as "SSD (weiliu89/caffe) and …"; empty if none is known."""
    return " and ".join(_OWNERS.get(("layers", kind), []))


def owners_of(message: str, name: str) -> str:
    """The forks that have a field, or a value of an enum, that the engine has not.

    Args:
        message: the message's name, `PoolingParameter`; for an enum the message that holds it.
        name: the field or value.

    Returns:
        As `owners_of_layer`.
    """
    return " and ".join(_OWNERS.get((message, name), []))
