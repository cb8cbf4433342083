"""The field names of all resources, from Google's published description, and the default fields of each method."""

from collections.abc import Mapping

#: The parts of a resource by name; empty for a plain value, None where any name is allowed, as in ``properties``.
Shape = Mapping[str, "Shape"] | None

_VALUE: Shape = {}


def _shape(names: str, **parts: Shape) -> dict[str, Shape]:
    return {**dict.fromkeys(names.split(), _VALUE), **parts}


USER = _shape("displayName emailAddress kind me permissionId photoLink")
PERMISSION = _shape(
    "allowFileDiscovery deleted displayName domain emailAddress expirationTime id inheritedPermissionsDisabled kind "
    "pendingOwner photoLink role type view",
    permissionDetails=_shape("inherited inheritedFrom permissionType role"),
    teamDrivePermissionDetails=_shape("inherited inheritedFrom role teamDrivePermissionType"),
)
CAPABILITIES = _shape(
    "canAcceptOwnership canAccessViaGenAi canAddChildren canAddFolderFromAnotherDrive canAddMyDriveParent "
    "canChangeCopyRequiresWriterPermission canChangeItemDownloadRestriction canChangeSecurityUpdateEnabled "
    "canChangeViewersCanCopyContent canComment canCopy canDelete canDeleteChildren canDisableInheritedPermissions "
    "canDownload canEdit canEnableInheritedPermissions canListChildren canModifyContent canModifyContentRestriction "
    "canModifyEditorContentRestriction canModifyLabels canModifyOwnerContentRestriction canMoveChildrenOutOfDrive "
    "canMoveChildrenOutOfTeamDrive canMoveChildrenWithinDrive canMoveChildrenWithinTeamDrive canMoveItemIntoTeamDrive "
    "canMoveItemOutOfDrive canMoveItemOutOfTeamDrive canMoveItemWithinDrive canMoveItemWithinTeamDrive "
    "canMoveTeamDriveItem canReadDrive canReadLabels canReadRevisions canReadTeamDrive canRemoveChildren "
    "canRemoveContentRestriction canRemoveMyDriveParent canRename canShare canStartApproval canTrash canTrashChildren "
    "canUntrash"
)
FILE = _shape(
    "copyRequiresWriterPermission createdTime description driveId explicitlyTrashed fileExtension folderColorRgb "
    "fullFileExtension hasAugmentedPermissions hasThumbnail headRevisionId iconLink id inheritedPermissionsDisabled "
    "isAppAuthorized kind md5Checksum mimeType modifiedByMe modifiedByMeTime modifiedTime name originalFilename "
    "ownedByMe parents permissionIds quotaBytesUsed resourceKey sha1Checksum sha256Checksum shared sharedWithMeTime "
    "size spaces starred teamDriveId thumbnailLink thumbnailVersion trashed trashedTime version viewedByMe "
    "viewedByMeTime viewersCanCopyContent webContentLink webViewLink writersCanShare",
    appProperties=None,
    capabilities=CAPABILITIES,
    clientEncryptionDetails=None,
    contentHints=None,
    contentRestrictions=None,
    downloadRestrictions=None,
    exportLinks=None,
    imageMediaMetadata=None,
    labelInfo=None,
    lastModifyingUser=USER,
    linkShareMetadata=_shape("securityUpdateEligible securityUpdateEnabled"),
    owners=USER,
    permissions=PERMISSION,
    properties=None,
    sharingUser=USER,
    shortcutDetails=_shape("targetId targetMimeType targetResourceKey"),
    trashingUser=USER,
    videoMediaMetadata=None,
)
CHANGE = _shape("changeType driveId fileId kind removed teamDriveId time type", drive=None, file=FILE, teamDrive=None)
#: The schema of each method's response.
ANSWERS: dict[str, Shape] = {
    "about.get": _shape(
        "appInstalled canCreateDrives canCreateTeamDrives folderColorPalette kind maxUploadSize",
        driveThemes=None,
        exportFormats=None,
        importFormats=None,
        maxImportSizes=None,
        storageQuota=_shape("limit usage usageInDrive usageInDriveTrash"),
        teamDriveThemes=None,
        user=USER,
    ),
    "changes.getStartPageToken": _shape("kind startPageToken"),
    "changes.list": _shape("kind newStartPageToken nextPageToken", changes=CHANGE),
    "drives.list": _shape("kind nextPageToken", drives=None),
    "files.create": FILE,
    "files.generateIds": _shape("ids kind space"),
    "files.get": FILE,
    "files.list": _shape("incompleteSearch kind nextPageToken", files=FILE),
    "files.update": FILE,
    "permissions.create": PERMISSION,
    "permissions.get": PERMISSION,
    "permissions.list": _shape("kind nextPageToken", permissions=PERMISSION),
    "permissions.update": PERMISSION,
}
_FILE_PARTS = "kind,id,name,mimeType,resourceKey"
#: The fields that a method sends if the request has no ``fields``; other methods send all.
DEFAULTS = {
    "changes.list": "kind,nextPageToken,newStartPageToken,"
    "changes(kind,removed,fileId,time,type,changeType,file(kind,id,name,mimeType))",
    "files.create": _FILE_PARTS,
    "files.get": _FILE_PARTS,
    "files.list": f"kind,incompleteSearch,nextPageToken,files({_FILE_PARTS})",
    "files.update": _FILE_PARTS,
    "permissions.create": "kind,id,type,role",
    "permissions.get": "kind,id,type,role",
    "permissions.list": "kind,nextPageToken,permissions(kind,id,type,role)",
    "permissions.update": "kind,id,type,role",
}
