from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from certs.models.organization import DEFAULT_DEPARTMENT, DEFAULT_ORGANIZATION


def create_defaults(apps: Apps, _editor: BaseDatabaseSchemaEditor) -> None:
    organization, _ = apps.get_model("certs", "Organization").objects.get_or_create(
        pk=DEFAULT_ORGANIZATION, defaults={"name": "Default"}
    )
    apps.get_model("certs", "Department").objects.get_or_create(
        pk=DEFAULT_DEPARTMENT, defaults={"name": "Default", "organization": organization}
    )
    apps.get_model("certs", "PortalState").objects.get_or_create(pk=1)


class Migration(migrations.Migration):
    dependencies = [("certs", "0001_initial")]
    operations = [migrations.RunPython(create_defaults, migrations.RunPython.noop)]
