"""How static files are named in production (docs/demo.md)."""

from django.contrib.staticfiles.storage import ManifestStaticFilesStorage


class StaticFilesStorage(ManifestStaticFilesStorage):
    """Names with a content hash, also in the `import … from "./codes.js"` of ES modules."""

    support_js_module_import_aggregation = True
