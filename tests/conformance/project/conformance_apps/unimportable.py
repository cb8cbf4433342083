"""An app that cannot be imported, as if a package is missing on the data owner's machine."""

import conformance_apps.a_package_that_is_not_installed

client_app = conformance_apps.a_package_that_is_not_installed.client_app
server_app = conformance_apps.a_package_that_is_not_installed.server_app
