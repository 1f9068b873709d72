{{/* files/alerts.yaml with the values put in; hack/generate/alerts.py does the same. */}}

{{/* Milliseconds of a duration as Prometheus writes it. */}}
{{- define "outbox-operator.milliseconds" -}}
{{- $units := dict "y" 31536000000 "w" 604800000 "d" 86400000 "h" 3600000 "m" 60000 "s" 1000 "ms" 1 }}
{{- $total := 0 }}
{{- range regexFindAll "[0-9]+(ms|[ywdhms])" . -1 }}
{{- $total = add $total (mul (regexFind "[0-9]+" . | int64) (get $units (regexFind "[a-z]+" .) | int64)) }}
{{- end }}
{{- $total }}
{{- end }}

{{- define "outbox-operator.rules" -}}
{{- $source := .Files.Get "files/alerts.yaml" | fromYaml }}
{{- $alerts := .Values.alerts }}
{{- $by := prepend $alerts.groupLabels "namespace" }}
{{- $namespaces := default .Values.watchNamespaces $alerts.namespaces | uniq | join "|" }}
{{- $where := printf "namespace=~%q" (default ".+" $namespaces) }}
{{- $operator := ternary (printf "namespace=%q" .Release.Namespace) "" (not (empty .Values.watchNamespaces)) }}
{{- $since := printf "outbox_operator_leader_since_timestamp_seconds%s" (ternary (printf "{%s}" $operator) "" (ne $operator "")) }}
{{- $extra := join ", " $alerts.groupLabels }}
{{- $led := printf "\nunless on (%s) (sum by (%s) (%s) == sum by (%s) (%s offset %s))" $extra $extra $since $extra $since $alerts.gap }}
{{- $leads := printf "outbox_operator_leader%s == 1" (ternary (printf "{%s}" $operator) "" (ne $operator "")) }}
{{- $rules := list }}
{{- range $source.latest }}
{{- $labels := concat $by .labels | join ", " }}
{{- $metric := printf "%s{%s}" .metric (list $where .matching | compact | join ", ") }}
{{- $last := printf "max by (%s) (last_over_time(%s[%s]))" $labels $metric $alerts.gap }}
{{- $known := printf "max by (%s, pipeline) (label_replace(outbox:condition:latest{%s, kind=\"OutboxPipeline\"}, \"pipeline\", \"$1\", \"name\", \"(.*)\"))" (join ", " $by) $where }}
{{- $remembered := ternary (printf "(%s\nand on (%s, pipeline) %s)\nor\n(%s\nunless on (%s) %s)" $last (join ", " $by) $known $last $extra $leads) (printf "(%s%s)" $last $led) (eq .by "relay") }}
{{- $rules = append $rules (dict
  "record" (printf "outbox:%s:latest" (trimPrefix "outbox_" .metric))
  "expr" (printf "max by (%s) (%s)\nor\n%s" $labels $metric $remembered)) }}
{{- end }}
{{- range $name, $alert := $source.alerts }}
{{- $values := get $alerts.rules $name | default dict }}
{{- if $values.enabled }}
{{- range $monitor := list "serviceMonitor" "podMonitor" }}
{{- $interval := get (get $.Values.metrics $monitor) "interval" }}
{{- $least := mul 4 (include "outbox-operator.milliseconds" $interval | int64) }}
{{- if and $values.window (lt (include "outbox-operator.milliseconds" $values.window | int64) $least) }}
{{- fail (printf "alerts.rules.%s.window: wanted at least four times metrics.%s.interval (%s), found %s: within less nothing has a rate" $name $monitor $interval $values.window) }}
{{- end }}
{{- end }}
{{- $expression := $alert.expr
  | replace "<by>" (join ", " $by)
  | replace "<extra>" (join ", " $alerts.groupLabels)
  | replace "<where>" $where
  | replace "{<operator>}" (ternary (printf "{%s}" $operator) "" (ne $operator ""))
  | replace ", <operator>" (ternary (printf ", %s" $operator) "" (ne $operator ""))
  | replace "<threshold>" (toString $values.threshold)
  | replace "<window>" (toString $values.window)
  | trim }}
{{- $rules = append $rules (dict
  "alert" $name
  "expr" $expression
  "for" (get $values "for")
  "labels" (merge (dict "severity" $values.severity) $values.labels $alerts.alertLabels)
  "annotations" (dict
    "summary" $alert.summary
    "description" $alert.description
    "runbook_url" (printf "%s/%s.md" $alerts.runbooks $name))) }}
{{- end }}
{{- end }}
{{- toYaml $rules }}
{{- end }}
