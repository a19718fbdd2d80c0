"""Every address of the API. A verb begins with an underscore, as in the reference."""

from django.urls import path

from certs.api import actions, certificates, document, doors, jobs, versions

urlpatterns = [
    path("schema", document.Schema.as_view(), name="api-schema"),
    path("docs/", document.docs, name="api-docs"),
    path("certificates", certificates.Certificates.as_view(), name="api-certificates"),
    path("certificates/_renew", jobs.Renew.as_view()),
    path("certificates/_bulk", jobs.Bulk.as_view()),
    path("certificates/_letsencrypt", doors.OrderLetsEncrypt.as_view()),
    path("certificates/_create", doors.CreateFromAuthority.as_view()),
    path("certificates/_selfsigned", doors.CreateSelfSigned.as_view()),
    path("certificates/_keypair", doors.CreateKeyPair.as_view()),
    path("certificates/_csr", doors.CreateRequest.as_view()),
    path("certificates/_import", doors.Import.as_view()),
    path("certificates/_deleted", actions.Deleted.as_view()),
    path("certificates/<str:id>", certificates.CertificateItem.as_view()),
    path("certificates/<str:id>/valid", certificates.CertificateValid.as_view()),
    path("certificates/<str:id>/csr", doors.RequestItem.as_view()),
    path("certificates/<str:id>/_answer", doors.RequestAnswer.as_view()),
    path("certificates/<str:id>/_renew", actions.RenewOne.as_view()),
    path("certificates/<str:id>/_revoke", actions.Revoke.as_view()),
    path("certificates/<str:id>/_release", actions.Release.as_view()),
    path("certificates/<str:id>/_restore", actions.Restore.as_view()),
    path("certificates/<str:id>/formats", actions.Formats.as_view()),
    path("certificates/<str:id>/_export", actions.Export.as_view()),
    path("certificates/<str:id>/versions", versions.Versions.as_view()),
    path("certificates/<str:id>/versions/_compare", versions.Compare.as_view()),
    path("certificates/<str:id>/versions/<uuid:version>", versions.VersionItem.as_view()),
    path("certificates/<str:id>/versions/<uuid:version>/_use", versions.Use.as_view()),
    path("certificates/<str:id>/versions/<uuid:version>/_revoke", versions.RevokeVersion.as_view()),
    path("jobs", jobs.Jobs.as_view()),
    path("jobs/<uuid:id>", jobs.JobItem.as_view()),
]
