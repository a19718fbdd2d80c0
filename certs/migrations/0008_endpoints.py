"""Endpoints, what they listen on, and what was installed there."""

import django.db.models.deletion
import portal.clock
import uuid
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('certs', '0007_more'),
    ]

    operations = [
        migrations.CreateModel(
            name='Endpoint',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('name', models.CharField(max_length=32, unique=True)),
                ('kind', models.CharField(max_length=40)),
                ('connection', models.CharField(max_length=40)),
                ('options', models.JSONField(blank=True, default=dict)),
                ('sealed', models.TextField(blank=True)),
                ('connection_options', models.JSONField(blank=True, default=dict)),
                ('connection_sealed', models.TextField(blank=True)),
                ('pin', models.TextField(blank=True)),
                ('pin_fingerprint', models.CharField(blank=True, max_length=120)),
                ('shown_key', models.TextField(blank=True)),
                ('shown_fingerprint', models.CharField(blank=True, max_length=120)),
                ('discovered_at', models.DateTimeField(blank=True, null=True)),
                ('next_discovery_at', models.DateTimeField(blank=True, db_index=True, null=True)),
                ('trouble', models.TextField(blank=True)),
                ('trouble_at', models.DateTimeField(blank=True, null=True)),
                ('created_at', models.DateTimeField(default=portal.clock.now, editable=False)),
                ('department', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, to='certs.department')),
                ('organization', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, to='certs.organization')),
            ],
            options={
                'ordering': ['name'],
            },
        ),
        migrations.CreateModel(
            name='Installation',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('fingerprint', models.CharField(max_length=64)),
                ('before', models.JSONField(blank=True, default=list)),
                ('reason', models.CharField(choices=[('person', 'asked for'), ('renewal', 'renewal'), ('back', 'back to an earlier one'), ('test', 'test with the same one')], max_length=10)),
                ('state', models.CharField(choices=[('planned', 'waiting to start'), ('checking', 'being checked'), ('staging', 'being sent'), ('switching', 'being put in place'), ('activating', 'being read by the server'), ('proving', 'being proven'), ('restoring', 'being put back'), ('installed', 'installed and served'), ('restored', 'failed, the old one is served'), ('stranded', 'failed, and could not be put back'), ('failed', 'failed, nothing was changed'), ('cancelled', 'cancelled')], default='planned', max_length=20)),
                ('plan', models.JSONField(default=dict)),
                ('error_code', models.CharField(blank=True, max_length=80)),
                ('error_message', models.TextField(blank=True)),
                ('error_advice', models.TextField(blank=True)),
                ('attempts', models.PositiveIntegerField(default=0)),
                ('next_attempt_at', models.DateTimeField(default=portal.clock.now)),
                ('lease_owner', models.UUIDField(blank=True, null=True)),
                ('lease_until', models.DateTimeField(blank=True, null=True)),
                ('created_at', models.DateTimeField(default=portal.clock.now, editable=False)),
                ('updated_at', models.DateTimeField(default=portal.clock.now, editable=False)),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
                ('requested_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('version', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='installations', to='certs.certificateversion')),
            ],
            options={
                'ordering': ['-created_at', '-id'],
            },
        ),
        migrations.CreateModel(
            name='InstallationStep',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.DateTimeField(default=portal.clock.now)),
                ('step', models.CharField(max_length=20)),
                ('command', models.TextField()),
                ('code', models.IntegerField(null=True)),
                ('output', models.TextField(blank=True)),
                ('errors', models.TextField(blank=True)),
                ('seconds', models.FloatField(default=0)),
                ('installation', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='steps', to='certs.installation')),
            ],
            options={
                'ordering': ['pk'],
            },
        ),
        migrations.CreateModel(
            name='Node',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('key', models.CharField(max_length=500)),
                ('seen', models.JSONField(default=dict)),
                ('name', models.CharField(max_length=255)),
                ('found_pem', models.TextField(blank=True)),
                ('found_fingerprint', models.CharField(blank=True, max_length=64)),
                ('follows', models.BooleanField(default=True)),
                ('served_ok', models.BooleanField(null=True)),
                ('served_fingerprint', models.CharField(blank=True, max_length=64)),
                ('served_detail', models.TextField(blank=True)),
                ('served_from', models.CharField(blank=True, max_length=120)),
                ('served_checked_at', models.DateTimeField(blank=True, null=True)),
                ('next_check_at', models.DateTimeField(blank=True, db_index=True, null=True)),
                ('gone_at', models.DateTimeField(blank=True, null=True)),
                ('certificate', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='nodes', to='certs.certificate')),
                ('endpoint', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='nodes', to='certs.endpoint')),
                ('installed', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='certs.certificateversion')),
            ],
            options={
                'ordering': ['endpoint', 'name', 'key'],
            },
        ),
        migrations.AddField(
            model_name='installation',
            name='node',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='installations', to='certs.node'),
        ),
        migrations.AddConstraint(
            model_name='node',
            constraint=models.UniqueConstraint(fields=('endpoint', 'key'), name='node_key_once'),
        ),
        migrations.AddIndex(
            model_name='installation',
            index=models.Index(condition=models.Q(('finished_at__isnull', True)), fields=['next_attempt_at'], name='installation_due'),
        ),
        migrations.AddConstraint(
            model_name='installation',
            constraint=models.UniqueConstraint(condition=models.Q(('finished_at__isnull', True)), fields=('node',), name='one_open_installation_per_node'),
        ),
    ]
