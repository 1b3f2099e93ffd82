{{- define "service.env" -}}
{{- $all := . -}}
{{- $env := dict "SEAWAY_PRODUCTION" "true" "SEAWAY_METRICS_HOST" "0.0.0.0" "SEAWAY_METRICS_PORT" "9090" "SEAWAY_SECRETS_DIR" "/etc/seaway/secrets" -}}
{{- if eq .Values.database.kind "sqlite" -}}
{{- $_ := set $env "SEAWAY_DATABASE_URL" (printf "sqlite+aiosqlite:////var/lib/seaway/%s.db" (include "service.name" .)) -}}
{{- end -}}
{{- if not .Values.broker.urlKey }}{{ $_ := set $env "SEAWAY_NATS_URL" .Values.broker.url }}{{ end -}}
{{- if .Values.broker.credentialsKey }}{{ $_ := set $env "SEAWAY_NATS_CREDENTIALS_FILE" "/etc/seaway/secrets/nats.creds" }}{{ end -}}
{{- if gt (int .Values.global.brokers) 1 }}{{ $_ := set $env "SEAWAY_REPLICAS" (toString (int .Values.global.brokers)) }}{{ end -}}
{{- range $name, $value := .Values.env }}{{ $_ := set $env $name (tpl (toString $value) $all) }}{{ end -}}
{{- range $name, $value := $env }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end -}}
{{- end -}}

{{- define "service.mounts" -}}
- { name: {{ .secrets }}, mountPath: /etc/seaway/secrets, readOnly: true }
- { name: tmp, mountPath: /tmp }
{{- if include "service.has-volume" .all }}
- { name: storage, mountPath: /var/lib/seaway }
{{- end }}
{{- end -}}

{{- define "service.volumes" -}}
{{- $all := . -}}
- name: tmp
  emptyDir: { medium: Memory, sizeLimit: 64Mi }
{{- include "service.secrets" (dict "all" . "name" "secrets" "broker" .Values.broker.existingSecret) }}
{{- if .Values.prepare.existingSecret }}
{{- include "service.secrets" (dict "all" . "name" "secrets-of-prepare" "broker" .Values.prepare.existingSecret) }}
{{- end }}
{{- if include "service.has-volume" . }}
- name: storage
  persistentVolumeClaim:
    claimName: {{ .Values.storage.existingClaim | default (include "service.fullname" .) }}
{{- end }}
{{- end -}}

{{- define "service.secrets" -}}
{{- $all := .all }}
- name: {{ .name }}
  projected:
    defaultMode: 0440
    sources:
      - secret:
          name: {{ tpl .broker .all }}
          items:
            {{- with .all.Values.broker.urlKey }}
            - { key: {{ . }}, path: nats_url }
            {{- end }}
            {{- with .all.Values.broker.credentialsKey }}
            - { key: {{ . }}, path: nats.creds }
            {{- end }}
      {{- if eq .all.Values.database.kind "postgresql" }}
      - secret:
          name: {{ tpl .all.Values.database.existingSecret .all }}
          items:
            - { key: {{ .all.Values.database.urlKey }}, path: database_url }
      {{- end }}
      {{- range $secret, $items := .all.Values.secrets }}
      - secret:
          name: {{ tpl $secret $all }}
          items:
            {{- range $key, $setting := $items }}
            - { key: {{ $key }}, path: {{ $setting }} }
            {{- end }}
      {{- end }}
{{- end -}}

{{- define "service.probes" -}}
{{- /* Live is asked over HTTP, of every service: gRPC is served only once the broker was there. */ -}}
startupProbe: { httpGet: { path: /livez, port: metrics }, periodSeconds: 2, failureThreshold: 60 }
livenessProbe: { httpGet: { path: /livez, port: metrics }, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 6 }
{{- /* The kubelet asks by gRPC without TLS only; by HTTP the answer is the same, a little later. */ -}}
{{- if and (hasKey .Values.ports "grpc") (not (hasKey .Values.env "SEAWAY_TLS_CERTIFICATE_FILE")) }}
readinessProbe: { grpc: { port: {{ .Values.ports.grpc }}, service: readiness }, periodSeconds: 5, timeoutSeconds: 5, failureThreshold: 2 }
{{- else }}
readinessProbe: { httpGet: { path: /readyz, port: metrics }, periodSeconds: 5, timeoutSeconds: 5, failureThreshold: 2 }
{{- end }}
{{- end -}}

{{- define "service.container" -}}
image: {{ include "service.image" .all }}
imagePullPolicy: {{ .all.Values.image.pullPolicy }}
{{- with .all.Values.command }}
command: {{ toJson . }}
{{- end }}
env: {{- include "service.env" .all | trim | nindent 2 }}
volumeMounts: {{- include "service.mounts" . | nindent 2 }}
resources: {{- toYaml .all.Values.resources | nindent 2 }}
securityContext: {{- include "service.confined" .all | nindent 2 }}
{{- end -}}

{{- define "service.sidecar" -}}
- name: {{ .sidecar.name }}
  {{- with .sidecar.image }}
  image: {{ include "service.registry" $.all }}{{ . }}
  {{- else }}
  image: {{ include "service.image" .all }}
  {{- end }}
  {{- with .sidecar.command }}
  command: {{ toJson . }}
  {{- end }}
  {{- with .sidecar.args }}
  args: {{ toJson . }}
  {{- end }}
  {{- with .sidecar.env }}
  env:
    {{- range $name, $value := . }}
    - { name: {{ $name }}, value: {{ $value | quote }} }
    {{- end }}
  {{- end }}
  {{- with .sidecar.ports }}
  ports:
    {{- range $name, $port := . }}
    - { name: {{ $name }}, containerPort: {{ $port }} }
    {{- end }}
  {{- end }}
  resources: {{- toYaml .all.Values.resources | nindent 4 }}
  volumeMounts:
    - { name: tmp, mountPath: /tmp }
    {{- if .sidecar.storage }}
    - { name: storage, mountPath: /var/lib/seaway }
    {{- end }}
  securityContext: {{- include "service.confined" .all | nindent 4 }}
{{- end -}}
