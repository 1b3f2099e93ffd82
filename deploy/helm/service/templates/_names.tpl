{{- define "service.name" -}}
{{- .Values.name | default .Chart.Name -}}
{{- end -}}

{{- define "service.fullname" -}}
{{- $name := include "service.name" . -}}
{{- if eq .Release.Name $name -}}{{ $name }}{{- else -}}{{ printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}{{- end -}}
{{- end -}}

{{- define "service.selector" -}}
app.kubernetes.io/name: {{ include "service.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "service.labels" -}}
{{ include "service.selector" . }}
app.kubernetes.io/part-of: seaway
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ include "service.tag" . | trunc 63 | quote }}
helm.sh/chart: {{ printf "service-%s" .Chart.Version }}
{{- with .Values.global.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "service.tag" -}}
{{- .Values.image.tag | default .Values.global.imageTag | default .Chart.AppVersion -}}
{{- end -}}

{{- define "service.registry" -}}
{{- with .Values.global.imageRegistry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- end -}}

{{- define "service.image" -}}
{{- $image := printf "%s%s" (include "service.registry" .) .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{ printf "%s@%s" $image .Values.image.digest }}
{{- else -}}
{{ printf "%s:%s" $image (include "service.tag" .) }}
{{- end -}}
{{- end -}}

{{- define "service.has-volume" -}}
{{- if or .Values.storage.enabled (eq .Values.database.kind "sqlite") }}yes{{ end -}}
{{- end -}}

{{- define "service.is-single" -}}
{{- if or .Values.single (include "service.has-volume" .) }}yes{{ end -}}
{{- end -}}

{{- define "service.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}

{{- define "service.nobody" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "service.pull-secrets" -}}
{{- with .Values.global.imagePullSecrets -}}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end -}}
{{- end -}}

{{- /* Whether the cluster knows what the Prometheus operator defines. */ -}}
{{- define "service.is-watched" -}}
{{- if and .Values.monitoring.enabled (.Capabilities.APIVersions.Has "monitoring.coreos.com/v1") }}yes{{ end -}}
{{- end -}}
