"""What the import of Orthanc's configuration says of keys that have no counterpart: tables."""

from __future__ import annotations

_ANYTHING = (
    "every SOP class and transfer syntax is taken here; to keep one out, let a rule drop it "
    "(when: {transfer_syntax: ...} or {sop_class: ...})"
)
_SCRIPTS = "scripts are not run here: write what they route as rules; 'dicom-router explain' tries them"
_PEERS = "peers speak Orthanc's own HTTP: give each as a modality, by its DICOM port"
_STORE = "nothing is kept here once it is delivered and 'retention' is over: spool.retention_bytes bounds it"
_INGEST = (
    "instances are kept as they came; deliver.transfer_syntaxes says in which form a destination gets them"
)

# Where the value says anything at all (false, 0, "", [] and {} do not).
INSTEAD = {
    "StorageDirectory": "what Orthanc has stored stays there: 'dicom-router send' sends files to us",
    "LuaScripts": _SCRIPTS,
    "PythonScript": _SCRIPTS,
    "Plugins": "Orthanc's plugins are not loaded here",
    "OrthancPeers": _PEERS,
    "OrthancPeersInDatabase": _PEERS,
    "MaximumStorageSize": _STORE,
    "MaximumPatientCount": _STORE,
    "AcceptedSopClasses": _ANYTHING,
    "RejectedSopClasses": _ANYTHING,
    "IngestTranscoding": _INGEST,
    "WebDavEnabled": "there is no WebDAV here: a folder destination writes files",
    "Pkcs11": "keys are files here",
    "LogExportedResources": "every delivery is in the ledger: 'dicom-router trace' shows it",
}

ALWAYS = (
    "Orthanc keeps what it gets; this gateway sends it on: say where to ('rules'). Until then it is held.",
    "Orthanc's REST API is not here: what this gateway has is at /api/v1/openapi.json.",
)

# Nothing is lost by leaving them out: they tune what is found by itself here, or what is not here at all.
NOT_NEEDED = frozenset(
    """
    AcceptedTransferSyntaxes BuiltinDecoderTranscoderOrder CaseSensitivePN CheckRevisions ConcurrentJobs
    CorsAllowedOrigins DatabaseServerIdentifier DefaultEncoding DefaultPrivateCreator
    DeflatedTransferSyntaxAccepted DeidentifyLogs DeidentifyLogsDicomVersion DicomAssociationCloseDelay
    DicomDefaultRetrieveMethod DicomEchoChecksFind DicomLossyTranscodingQuality
    DicomScuPreferredTransferSyntax DicomThreadsCount Dictionary ExecuteLuaEnabled ExternalDictionaries
    ExtraMainDicomTags H265TransferSyntaxAccepted HttpCompressionEnabled HttpDescribeErrors HttpProxy
    HttpRequestTimeout HttpThreadsCount HttpTimeout HttpVerbose HttpsCACertificates HttpsVerifyPeers
    IndexDirectory IngestTranscodingOfCompressed IngestTranscodingOfUncompressed JobsEngineThreadsCount
    JobsHistorySize Jpeg2000TransferSyntaxAccepted JpegLosslessTransferSyntaxAccepted
    JpegTransferSyntaxAccepted JpipTransferSyntaxAccepted KeepAlive KeepAliveTimeout LimitFindInstances
    LimitFindResults LimitMainDicomTagsReconstructLevel LoadPrivateDictionary Locale MallocArenaMax
    MaximumConcurrentDcmtkTranscoder MaximumStorageCacheSize MaximumStorageMode MediaArchiveSize
    MetricsEnabled Mpeg2TransferSyntaxAccepted Mpeg4TransferSyntaxAccepted Name OrthancExplorerEnabled
    OverwriteInstances QueryRetrieveSize ReadOnly RegisteredUsers RleTransferSyntaxAccepted SaveJobs
    SslCiphersAccepted SslMinimumProtocolVersion StableAge StorageAccessOnFind
    StorageCommitmentReportsSize StorageCompression StoreDicom StoreMD5ForAttachments SyncStorageArea
    SynchronousCMove SynchronousZipStream TcpNoDelay TemporaryDirectory UnknownSopClassAccepted
    UserContentType UserMetadata Warnings WebDavDeleteAllowed WebDavUploadAllowed ZipLoaderThreads
    """.split()
)
