"""Whether a SavedModel only computes: a graph may also read and write files, call Python, and talk to other hosts.

What is listed here can't. A graph also has functions that save and restore its variables; they are no danger as long as
nothing calls them: the loader restores variables by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

# Operators that take tensors and tables of this process, and give such.
_COMPUTING_NAMES = """
Abs AccumulateNV2 Acos Acosh Add AddN AddV2 AdjustContrastv2 AdjustHue AdjustSaturation All Angle Any ApproxTopK
ApproximateEqual ArgMax ArgMin AsString Asin Asinh Assert Atan Atan2 Atanh AvgPool AvgPool3D BatchMatMul BatchMatMulV2
BatchMatMulV3 BatchToSpace BatchToSpaceND BesselI0 BesselI0e BesselI1 BesselI1e Betainc BiasAdd BiasAddV1 Bincount
Bitcast BitwiseAnd BitwiseOr BitwiseXor BroadcastArgs BroadcastTo Bucketize CTCBeamSearchDecoder CTCGreedyDecoder Case
Cast Ceil CheckNumerics CheckNumericsV2 Cholesky ClipByValue CombinedNonMaxSuppression Complex ComplexAbs Concat
ConcatOffset ConcatV2 Conj ConjugateTranspose Const Conv Conv2D Conv2DBackpropInput Conv3D Conv3DBackpropInputV2 Cos
Cosh CropAndResize Cross Cumprod Cumsum CumulativeLogsumexp DecodeAndCropJpeg DecodeBase64 DecodeBmp DecodeGif
DecodeImage DecodeJpeg DecodePng DecodeRaw DenseBincount DepthToSpace DepthwiseConv2dNative Dequantize Diag DiagPart
Digamma Dilation2D DisableCopyOnRead Div DivNoNan DrawBoundingBoxesV2 DynamicPartition DynamicStitch EditDistance Eig
Einsum Elu Empty EmptyTensorList EncodeBase64 EncodeJpeg EncodePng EnsureShape Equal Erf Erfc Erfinv EuclideanNorm Exp
ExpandDims Expm1 ExtractGlimpseV2 ExtractImagePatches ExtractJpegShape ExtractVolumePatches FFT FFT2D FFT3D FakeParam
FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel Fill Fingerprint Floor FloorDiv
FloorMod For FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 Gather GatherNd GatherV2 Greater GreaterEqual
GuaranteeConst HSVToRGB HashTable HashTableV2 HistogramFixedWidth IFFT IFFT2D IFFT3D IRFFT IRFFT2D IRFFT3D Identity
IdentityN If Igamma Igammac Imag ImageProjectiveTransformV2 ImageProjectiveTransformV3 InTopK InTopKV2 Inv Invert
InvertPermutation IsFinite IsInf IsNan L2Loss LRN LeakyRelu LeftShift Less LessEqual Lgamma LinSpace ListDiff Log Log1p
LogMatrixDeterminant LogSoftmax LogicalAnd LogicalNot LogicalOr LookupTableExportV2 LookupTableFind LookupTableFindV2
LookupTableImport LookupTableImportV2 LookupTableSize LookupTableSizeV2 LowerBound Lu MatMul MatrixBandPart
MatrixDeterminant MatrixDiag MatrixDiagPart MatrixDiagPartV2 MatrixDiagPartV3 MatrixDiagV2 MatrixDiagV3
MatrixExponential MatrixInverse MatrixLogarithm MatrixSetDiag MatrixSetDiagV2 MatrixSetDiagV3 MatrixSolve MatrixSolveLs
MatrixSquareRoot MatrixTriangularSolve Max MaxPool MaxPool3D MaxPoolV2 MaxPoolWithArgmax Maximum Mean Merge Mfcc Min
Minimum MirrorPad Mod Mul MulNoNan Multinomial MutableHashTableV2 Ndtri Neg NextAfter NoOp NonMaxSuppression
NonMaxSuppressionV2 NonMaxSuppressionV3 NonMaxSuppressionV4 NonMaxSuppressionV5 NonMaxSuppressionWithOverlaps NotEqual
NthElement OneHot OnesLike Pack Pad PadV2 ParallelConcat ParallelDynamicStitch ParseExample ParseExampleV2
ParseSequenceExample ParseSequenceExampleV2 ParseSingleExample ParseTensor PartitionedCall Placeholder
PlaceholderWithDefault Polygamma PopulationCount Pow PreventGradient Prod Qr QuantizeAndDequantizeV2
QuantizeAndDequantizeV3 QuantizeAndDequantizeV4 QuantizeV2 RFFT RFFT2D RFFT3D RGBToHSV RaggedBincount RaggedCross
RaggedGather RaggedRange RaggedTensorFromVariant RaggedTensorToSparse RaggedTensorToTensor RaggedTensorToVariant
RandomShuffle RandomStandardNormal RandomUniform RandomUniformInt Range Rank ReadVariableOp Real RealDiv Reciprocal
ReduceJoin RegexFullMatch RegexReplace Relu Relu6 Reshape ResizeArea ResizeBicubic ResizeBilinear ResizeNearestNeighbor
ResourceGather ResourceGatherNd Reverse ReverseSequence ReverseV2 RightShift Rint Roll Round Rsqrt ScaleAndTranslate
ScatterNd SegmentMax SegmentMean SegmentMin SegmentProd SegmentSum Select SelectV2 SelfAdjointEigV2 Selu Shape ShapeN
Sigmoid Sign Sin Sinh Size Slice Snapshot Softmax Softplus Softsign SpaceToBatch SpaceToBatchND SpaceToDepth SparseAdd
SparseConcat SparseCross SparseFillEmptyRows SparseReduceMax SparseReduceSum SparseReorder SparseReshape
SparseSegmentMean SparseSegmentMeanWithNumSegments SparseSegmentSqrtN SparseSegmentSqrtNWithNumSegments SparseSegmentSum
SparseSegmentSumWithNumSegments SparseSlice SparseSoftmax SparseTensorDenseAdd SparseTensorDenseMatMul SparseToDense
Split SplitV Sqrt Square SquaredDifference Squeeze StatefulPartitionedCall StatelessCase StatelessIf
StatelessMultinomial StatelessRandomGetAlg StatelessRandomGetKeyCounter StatelessRandomNormalV2
StatelessRandomUniformFullIntV2 StatelessRandomUniformIntV2 StatelessRandomUniformV2 StatelessTruncatedNormalV2
StatelessWhile StaticRegexFullMatch StaticRegexReplace StopGradient StridedSlice StringFormat StringJoin StringLength
StringLower StringNGrams StringSplit StringSplitV2 StringStrip StringToHashBucketFast StringToHashBucketStrong
StringToNumber StringUpper Sub Substr Sum Svd Switch Tan Tanh TensorListConcat TensorListConcatV2 TensorListElementShape
TensorListFromTensor TensorListGather TensorListGetItem TensorListLength TensorListPopBack TensorListPushBack
TensorListReserve TensorListResize TensorListScatter TensorListScatterIntoExistingList TensorListScatterV2
TensorListSetItem TensorListSplit TensorListStack TensorScatterAdd TensorScatterMax TensorScatterMin TensorScatterSub
TensorScatterUpdate TensorStridedSliceUpdate Tile TopK TopKV2 Transpose TridiagonalMatMul TridiagonalSolve TruncateDiv
TruncateMod UnicodeDecode UnicodeDecodeWithOffsets UnicodeEncode UnicodeScript UnicodeTranscode Unique UniqueV2
UniqueWithCounts UniqueWithCountsV2 Unpack UnravelIndex UnsortedSegmentJoin UnsortedSegmentMax UnsortedSegmentMin
UnsortedSegmentProd UnsortedSegmentSum UpperBound VarHandleOp VariableShape Where While Xdivy Xlog1py Xlogy ZerosLike
Zeta
"""
_COMPUTING = frozenset(_COMPUTING_NAMES.split())
# The outermost graph, of which the loader takes nothing but constants, also sets variables.
_OUTERMOST = _COMPUTING | {"AssignVariableOp", "VarIsInitializedOp"}


def strangers(saved_model: Any) -> list[str]:
    """Operators of a parsed ``SavedModel`` that may do more than compute, sorted."""
    found = set[str]()
    for graph in saved_model.meta_graphs:
        if not graph.HasField("object_graph_def"):
            found.add("those of TensorFlow 1, which restore variables by themselves")
        found |= _of_graph(graph)
    return sorted(found)


def _of_graph(graph: Any) -> set[str]:
    functions = {one.signature.name: one.node_def for one in graph.graph_def.library.function}
    savers = _savers(graph, functions.keys())
    found = {node.op for node in graph.graph_def.node} - _OUTERMOST - functions.keys()
    for name, nodes in functions.items():
        if name not in savers:
            found |= {node.op for node in nodes} - _COMPUTING - functions.keys()
    return found


def _savers(graph: Any, functions: Iterable[str]) -> set[str]:
    """The functions that save and restore, if nothing but the outermost graph's two operations for that calls them."""
    saver = graph.saver_def
    operations = {saver.save_tensor_name.partition(":")[0], saver.restore_op_name}
    outermost = graph.graph_def.node
    named = {name for node in outermost if node.name in operations for name in _called(node)}
    others = [node for node in outermost if node.name not in operations]
    others += [node for one in graph.graph_def.library.function for node in one.node_def]
    called = {name for node in others for name in _called(node)} | set(graph.object_graph_def.concrete_functions)
    called |= {one.gradient_func for one in graph.graph_def.library.gradient}
    # What says that it does the same as others may be called in their place.
    called |= {one.signature.name for one in graph.graph_def.library.function if "api_implements" in one.attr}
    return (named & set(functions)) - called


def _called(node: Any) -> Iterator[str]:
    """What an operation may call: its operator may be a function, and so may its attributes."""
    yield node.op
    for value in node.attr.values():
        yield from (one.name for one in (value.func, *value.list.func))
