{{- /* What values.schema.json cannot say: fields that forbid one another. Each says what to do. */ -}}
{{- define "service.guards" -}}
{{- $name := include "service.name" . -}}
{{- $v := .Values -}}
{{- $scales := or (gt (int $v.replicas) 1) $v.hpa.enabled $v.keda.enabled -}}
{{- if kindIs "bool" $v.prepare -}}
{{- fail (printf "%s: this values file is of chart 0.1.0: in place of `prepare: %v` write `prepare: {enabled: %v}`" $name $v.prepare $v.prepare) -}}
{{- end -}}
{{- if not $v.image.repository -}}
{{- fail (printf "%s: image.repository is empty: say which image it is, such as seaway/%s" $name $name) -}}
{{- end -}}
{{- if and (eq $v.database.kind "sqlite") $scales -}}
{{- fail (printf "%s: database.kind sqlite is one file, and only one process may write it: set database.kind to postgresql, or replicas to 1 and hpa.enabled and keda.enabled to false" $name) -}}
{{- end -}}
{{- if and $v.single $scales -}}
{{- fail (printf "%s: only one of it may ever run (single): set replicas to 1, and hpa.enabled and keda.enabled to false" $name) -}}
{{- end -}}
{{- if and $v.storage.enabled $scales -}}
{{- fail (printf "%s: its volume can be written by one pod only: set replicas to 1, or storage.enabled to false" $name) -}}
{{- end -}}
{{- range $v.sidecars -}}
{{- if and .storage (not (include "service.has-volume" $)) -}}
{{- fail (printf "%s: its sidecar %s is to see its volume, and there is none: set storage.enabled to true, or its storage to false" $name .name) -}}
{{- end -}}
{{- end -}}
{{- if and $v.hpa.enabled $v.keda.enabled -}}
{{- fail (printf "%s: hpa and keda would both set its replicas: set one of hpa.enabled and keda.enabled to false" $name) -}}
{{- end -}}
{{- if and $v.keda.enabled (not $v.keda.monitoringEndpoint) -}}
{{- fail (printf "%s: keda.enabled needs keda.monitoringEndpoint, the broker's monitor, such as seaway-nats-headless.NAMESPACE.svc:8222" $name) -}}
{{- end -}}
{{- if and $v.keda.enabled (not $v.keda.durables) -}}
{{- fail (printf "%s: keda.enabled needs keda.durables: what `python -m … topology show` calls `name`" $name) -}}
{{- end -}}
{{- if and (eq $v.database.kind "postgresql") (not $v.database.existingSecret) -}}
{{- fail (printf "%s: no Secret for PostgreSQL: make one with the key %s, and name it in database.existingSecret" $name $v.database.urlKey) -}}
{{- end -}}
{{- if not $v.broker.existingSecret -}}
{{- fail (printf "%s: no Secret for the broker: make one with the key nats_url (nats://user:password@host:4222), and name it in broker.existingSecret" $name) -}}
{{- end -}}
{{- if and (not $v.broker.urlKey) (not $v.broker.url) -}}
{{- fail (printf "%s: where is the broker? Set broker.urlKey to the key of its Secret that holds the URL, or broker.url" $name) -}}
{{- end -}}
{{- if and (not $v.broker.urlKey) (not $v.broker.credentialsKey) -}}
{{- fail (printf "%s: who is it to the broker? broker.url holds no credentials: set broker.credentialsKey" $name) -}}
{{- end -}}
{{- if contains "@" $v.broker.url -}}
{{- fail (printf "%s: broker.url holds a password, and values are no place for it: say only nats://host:4222, and who it is in the Secret that broker.existingSecret names" $name) -}}
{{- end -}}
{{- range $setting, $value := $v.env -}}
{{- if or (regexMatch "(PASSWORD|TOKEN|SECRET_ACCESS_KEY)$" $setting) (regexMatch "://[^/@]*:[^/@]*@" (toString $value)) -}}
{{- fail (printf "%s: env.%s is a secret, and values are no place for it: put it into a Secret, and say in secrets which key of that it is (secrets: {my-secret: {key: %s}})" $name $setting (trimPrefix "seaway_" (lower $setting))) -}}
{{- end -}}
{{- end -}}
{{- if and (eq $v.database.kind "postgresql") $v.networkPolicy.enabled (not $v.networkPolicy.egress) -}}
{{- fail (printf "%s: its NetworkPolicy would keep it from PostgreSQL: list the way there in networkPolicy.egress, such as {ports: [{port: 5432}]}, or set networkPolicy.enabled to false" $name) -}}
{{- end -}}
{{- if gt (int $v.hpa.min) (int $v.hpa.max) -}}
{{- fail (printf "%s: hpa.min is more than hpa.max" $name) -}}
{{- end -}}
{{- if gt (int $v.keda.min) (int $v.keda.max) -}}
{{- fail (printf "%s: keda.min is more than keda.max" $name) -}}
{{- end -}}
{{- if and $v.ingress.enabled (not $v.ingress.host) -}}
{{- fail (printf "%s: ingress.enabled needs ingress.host" $name) -}}
{{- end -}}
{{- if and $v.ingress.enabled (not (hasKey $v.ports $v.ingress.port)) -}}
{{- fail (printf "%s: ingress.port %s is none of its ports" $name $v.ingress.port) -}}
{{- end -}}
{{- if and $v.routes.enabled (not $v.routes.parents) -}}
{{- fail (printf "%s: routes.enabled needs routes.parents: which Gateways, such as {name: public}" $name) -}}
{{- end -}}
{{- if and $v.routes.enabled (not $v.routes.host) -}}
{{- fail (printf "%s: routes.enabled needs routes.host" $name) -}}
{{- end -}}
{{- if and $v.routes.enabled (not (or (hasKey $v.ports "grpc") (hasKey $v.ports "web"))) -}}
{{- fail (printf "%s: routes.enabled needs a port that is called grpc or web" $name) -}}
{{- end -}}
{{- if not (has (int $v.global.brokers) (list 1 3 5)) -}}
{{- fail (printf "%s: global.brokers is %v: with an even number of brokers none more may fail than with one fewer; set it to 1, 3 or 5" $name $v.global.brokers) -}}
{{- end -}}
{{- end -}}
