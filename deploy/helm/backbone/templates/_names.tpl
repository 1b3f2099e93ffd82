{{- define "backbone.nats" -}}
{{ .Release.Name | trunc 52 | trimSuffix "-" }}-nats
{{- end -}}

{{- define "backbone.selector" -}}
app.kubernetes.io/name: nats
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "backbone.labels" -}}
{{ include "backbone.selector" . }}
app.kubernetes.io/part-of: seaway
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Values.nats.image.tag | trunc 63 | quote }}
helm.sh/chart: {{ printf "backbone-%s" .Chart.Version }}
{{- with .Values.global.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* Who may connect: file and values. */ -}}
{{- define "backbone.identities" -}}
{{- $known := (.Files.Get "files/permissions.yaml" | fromYaml).identities -}}
{{- toYaml (merge (deepCopy .Values.auth.identities) $known) -}}
{{- end -}}

{{- define "backbone.image" -}}
{{- $image := .Values.nats.image.repository -}}
{{- with .Values.global.imageRegistry }}{{ $image = printf "%s/%s" (trimSuffix "/" .) $image }}{{ end -}}
{{- if .Values.nats.image.digest -}}
{{ printf "%s@%s" $image .Values.nats.image.digest }}
{{- else -}}
{{ printf "%s:%s" $image .Values.nats.image.tag }}
{{- end -}}
{{- end -}}

{{- /* A quantity such as 10Gi in bytes. */ -}}
{{- define "backbone.bytes" -}}
{{- $units := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- $number := regexFind "^[0-9.]+" . -}}
{{- mulf (float64 $number) (float64 (index $units (trimPrefix $number .))) | int64 -}}
{{- end -}}

{{- /* At most 80 % of the volume: a full disk stops a stream until the broker is restarted. */ -}}
{{- define "backbone.max-file" -}}
{{- div (mul 8 (include "backbone.bytes" .Values.nats.storage.size | int64)) 10 -}}
{{- end -}}

{{- /* Where everybody finds the brokers, each said by name: one that has lost the others is left. */ -}}
{{- define "backbone.addresses" -}}
{{- $nats := include "backbone.nats" . -}}
{{- $count := int .Values.global.brokers -}}
{{- if eq $count 1 -}}
{{ toJson (list (printf "%s:4222" $nats)) }}
{{- else -}}
{{- $each := list -}}
{{- range $number := until $count }}{{ $each = append $each (printf "%s-%d.%s-headless:4222" $nats $number $nats) }}{{ end -}}
{{ toJson $each }}
{{- end -}}
{{- end -}}
