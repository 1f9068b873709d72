{{/* Names, labels and the image, said once. */}}

{{- define "outbox-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "outbox-operator.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := include "outbox-operator.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "outbox-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "outbox-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "outbox-operator.ownLabels" -}}
{{ include "outbox-operator.selectorLabels" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "outbox-operator.labels" -}}
{{ merge (include "outbox-operator.ownLabels" . | fromYaml) .Values.commonLabels | toYaml }}
{{- end }}

{{- define "outbox-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "outbox-operator.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name is needed when serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "outbox-operator.image" -}}
{{- $registry := default .Values.image.registry (.Values.global).imageRegistry }}
{{- $name := ternary (printf "%s/%s" $registry .Values.image.repository) .Values.image.repository (ne $registry "") }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" $name .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" $name (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* What the pods of relays and consumers have in common, and may ask for. */}}
{{- define "outbox-operator.pods" -}}
{{- $secrets := list }}
{{- range .Values.dataPlane.imagePullSecrets }}{{ $secrets = append $secrets .name }}{{ end }}
{{- $policy := .Values.dataPlane.podPolicy }}
{{- $pods := dict
  "pull_secrets" $secrets
  "priority_class" .Values.dataPlane.priorityClassName
  "env" .Values.dataPlane.extraEnv
  "scrape_annotations" .Values.metrics.scrapeAnnotations
  "policy" (dict "fields" $policy.fields "service_accounts" $policy.serviceAccounts "images" $policy.images) }}
{{- $network := .Values.dataPlane.networkPolicy }}
{{- if $network.enabled }}
{{- $from := $network.metricsFrom }}
{{- if $from }}
{{- /* The operator asks pods that are not ready for the reason. */}}
{{- $from = append $from (dict
  "namespaceSelector" (dict "matchLabels" (dict "kubernetes.io/metadata.name" .Release.Namespace))
  "podSelector" (dict "matchLabels" (include "outbox-operator.selectorLabels" . | fromYaml))) }}
{{- end }}
{{- $pods = set $pods "network_policy" (dict "metrics_from" $from "egress" $network.egress) }}
{{- end }}
{{- $pods | toJson }}
{{- end }}

{{/* Whether namespaces let the operator in one by one. */}}
{{- define "outbox-operator.perNamespace" -}}
{{- if eq .Values.rbac.mode "PerNamespace" }}
{{- if .Values.watchNamespaces }}
{{- fail "rbac.mode PerNamespace looks at all namespaces, and their owners decide; leave watchNamespaces empty" }}
{{- end }}true
{{- end }}
{{- end }}

{{/* Whether who asked for a task is compared with who creates it. */}}
{{- define "outbox-operator.requestersVerified" -}}
{{- if and .Values.tasks.verifyRequester (.Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy") }}true
{{- end }}
{{- end }}

{{/* Whose name and rights the command for a namespace's owner has. */}}
{{- define "outbox-operator.namespaceRole" -}}
{{- printf "%s-namespace" (include "outbox-operator.fullname" .) }}
{{- end }}

{{/* What it takes to look after resources, and to say so in their status. */}}
{{- define "outbox-operator.lookingRules" -}}
# Its own resources: see them, keep a finalizer, take one-shot annotations away.
- apiGroups: [outbox.dev]
  resources: [outboxpipelines, eventstreams, eventconsumers]
  verbs: [list, watch, patch]
- apiGroups: [outbox.dev]
  resources: [outboxtasks]
  verbs: [list, watch]
- apiGroups: [outbox.dev]
  resources: [outboxpipelines/status, eventstreams/status, eventconsumers/status, outboxtasks/status]
  verbs: [patch]
# Its UID tells this cluster from others in the marks on schemas and streams.
- apiGroups: [""]
  resources: [namespaces]
  {{- if .Values.watchNamespaces }}
  # Of this very namespace: that of kube-system may not be read.
  {{- else }}
  resourceNames: [kube-system]
  {{- end }}
  verbs: [get]
{{- end }}

{{/* What it takes to do what resources of a namespace say. Never `list` on Secrets. */}}
{{- define "outbox-operator.workingRules" -}}
# A pipeline makes streams and consumers.
- apiGroups: [outbox.dev]
  resources: [eventstreams, eventconsumers]
  verbs: [get, create, delete]
# A task goes when its time after its end is over.
- apiGroups: [outbox.dev]
  resources: [outboxtasks]
  verbs: [get, delete]
# Asked for by clusters that guard owner references (OwnerReferencesPermissionEnforcement).
- apiGroups: [outbox.dev]
  resources: [outboxpipelines/finalizers, eventconsumers/finalizers]
  verbs: [update]
# Relays and consumers.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [configmaps, serviceaccounts, services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
{{- if .Values.dataPlane.networkPolicy.enabled }}
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
# Why a pod does not start.
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
# Those that resources name, one by one.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
