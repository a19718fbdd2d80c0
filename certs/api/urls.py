"""Every address of the API. A verb begins with an underscore, as in the reference."""

from django.urls import path

from certs.api import certificates, document, jobs

urlpatterns = [
    path("schema", document.Schema.as_view(), name="api-schema"),
    path("docs/", document.docs, name="api-docs"),
    path("certificates", certificates.Certificates.as_view(), name="api-certificates"),
    path("certificates/_renew", jobs.Renew.as_view()),
    path("certificates/_bulk", jobs.Bulk.as_view()),
    path("certificates/<str:id>", certificates.CertificateItem.as_view()),
    path("certificates/<str:id>/valid", certificates.CertificateValid.as_view()),
    path("jobs", jobs.Jobs.as_view()),
    path("jobs/<uuid:id>", jobs.JobItem.as_view()),
]
