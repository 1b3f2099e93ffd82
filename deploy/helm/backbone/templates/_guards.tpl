{{- /* What values.schema.json cannot say. Each says what to do. */ -}}
{{- define "backbone.guards" -}}
{{- $v := .Values -}}
{{- $streams := (.Files.Get "files/permissions.yaml" | fromYaml).streams -}}
{{- if not (has (int $v.global.brokers) (list 1 3 5)) -}}
{{- fail (printf "backbone: global.brokers is %v: with an even number of brokers none more may fail than with one fewer; set it to 1, 3 or 5" $v.global.brokers) -}}
{{- end -}}
{{- if and $v.nats.external.url (regexMatch "//[^/]*@" $v.nats.external.url) -}}
{{- fail "backbone: nats.external.url holds a password, and values are no place for it: say only nats://host:4222, and who each service is in the Secret that its broker.existingSecret names" -}}
{{- end -}}
{{- if and $v.nats.external.url $v.auth.existingSecret -}}
{{- fail "backbone: auth.existingSecret is for the broker of this chart, and nats.external.url says that there is another: leave one of them empty" -}}
{{- end -}}
{{- if and $v.nats.external.url (contains "-nats-monitor" $v.monitor.broker.existingSecret) (contains ".Release.Name" $v.monitor.broker.existingSecret) -}}
{{- fail "backbone: nats.external.url without credentials: the chart makes none for a broker that it does not run; name a Secret with the key nats_url in monitor.broker.existingSecret" -}}
{{- end -}}
{{- if and $v.nats.external.url $v.auth.identities -}}
{{- fail "backbone: auth.identities are for the broker of this chart, and nats.external.url says that there is another: give them to that one" -}}
{{- end -}}
{{- $there := lookup "apps/v1" "StatefulSet" .Release.Namespace (include "backbone.nats" .) -}}
{{- if and $there (ne (eq 1 (int $v.global.brokers)) (eq 1 (int (dig "spec" "replicas" 1 $there)))) -}}
{{- fail (printf "backbone: global.brokers goes from %v to %v, and a cluster does not know the streams of a broker that was alone: back them up, uninstall, delete its claim, install and restore them (docs/operate.md, Scale)" $there.spec.replicas $v.global.brokers) -}}
{{- end -}}
{{- range dig "spec" "volumeClaimTemplates" list $there -}}
{{- $size := .spec.resources.requests.storage -}}
{{- if and (not $v.nats.external.url) (ne (include "backbone.bytes" $size) (include "backbone.bytes" $v.nats.storage.size)) -}}
{{- fail (printf "backbone: nats.storage.size goes from %s to %s, and a StatefulSet keeps the claims that it was made with: give each claim the new size, `kubectl delete statefulset %s --cascade=orphan`, and upgrade again (docs/operate.md, When the disk is full)" $size $v.nats.storage.size (include "backbone.nats" $)) -}}
{{- end -}}
{{- end -}}
{{- if not $v.nats.external.url -}}
{{- $reserved := 0 -}}
{{- range $streams }}{{ $reserved = add $reserved (int64 .) }}{{ end -}}
{{- if lt (include "backbone.max-file" . | int64) $reserved -}}
{{- fail (printf "backbone: nats.storage.size is %s, and 80 %% of it is less than the %d bytes that the streams reserve: set it to %dGi or more" $v.nats.storage.size $reserved (add 1 (div (mul 10 $reserved) (mul 8 1073741824)))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
