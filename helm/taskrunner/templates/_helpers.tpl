{{/* Names. `taskrunner.fullname` is the release's, with the chart's added unless it is in there. */}}
{{- define "taskrunner.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "taskrunner.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 45 | trimSuffix "-" }}
{{- else }}
{{- $name := include "taskrunner.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 45 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 45 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* Takes (dict "root" $ "component" "operator"). */}}
{{- define "taskrunner.serviceAccountName" -}}
{{- $of := index .root.Values .component "serviceAccount" }}
{{- if $of.create }}
{{- default (printf "%s-%s" (include "taskrunner.fullname" .root) .component) $of.name }}
{{- else }}
{{- required (printf "%s.serviceAccount.name: with create: false, name the account that exists." .component) $of.name }}
{{- end }}
{{- end }}

{{/* The operator, as the API server knows it. */}}
{{- define "taskrunner.operatorUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "taskrunner.serviceAccountName" (dict "root" . "component" "operator") }}
{{- end }}

{{/* In a policy's matchConstraints and in webhooks: only where tasks are run. */}}
{{- define "taskrunner.watchedNamespaces" -}}
{{- with .Values.watchNamespace }}
namespaceSelector:
  matchLabels:
    kubernetes.io/metadata.name: {{ . }}
{{- end }}
{{- end }}

{{/* Who stamps the requester on tasks and runs: policy, webhook or nobody. A policy that mutates is
     v1 from Kubernetes 1.36 on. */}}
{{- define "taskrunner.stamp" -}}
{{- if not .Values.identity.enabled -}}
nobody
{{- else if ne .Values.identity.stamp "auto" -}}
{{ .Values.identity.stamp }}
{{- else if or (.Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy") (semverCompare ">=1.36.0-0" .Capabilities.KubeVersion.Version) -}}
policy
{{- else if .Values.webhook.enabled -}}
webhook
{{- else -}}
nobody
{{- end }}
{{- end }}

{{/* Where the tasks are: the one watched namespace, or the release's for what needs a place. */}}
{{- define "taskrunner.taskNamespace" -}}
{{- default .Release.Namespace .Values.watchNamespace }}
{{- end }}

{{- define "taskrunner.image" -}}
{{- $image := .Values.image }}
{{- $tag := default .Chart.AppVersion $image.tag }}
{{- if $image.digest }}
{{- printf "%s:%s@%s" $image.repository $tag $image.digest }}
{{- else }}
{{- printf "%s:%s" $image.repository $tag }}
{{- end }}
{{- end }}

{{/* Labels. Takes (dict "root" $ "component" "operator"); no component for what is shared. */}}
{{- define "taskrunner.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "taskrunner.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: taskrunner
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "taskrunner.selectorLabels" -}}
app.kubernetes.io/name: {{ include "taskrunner.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{/* It is cluster-wide, so it carries the namespace. */}}
{{- define "taskrunner.priorityClass" -}}
{{ include "taskrunner.fullname" . }}-{{ .Release.Namespace }}
{{- end }}

{{/* What the `restricted` Pod Security Standard asks for, and a read-only root besides. The image
     names a numeric user; none is given here, because some clusters choose one themselves. */}}
{{- define "taskrunner.podSecurityContext" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "taskrunner.containerSecurityContext" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
readOnlyRootFilesystem: true
{{- end }}

{{/* Where pods go. Takes (dict "root" $ "component" "operator"). A spread constraint without a
     labelSelector gets the component's. */}}
{{- define "taskrunner.placement" -}}
{{- $of := index .root.Values .component }}
{{- $selector := dict "labelSelector" (dict "matchLabels" (include "taskrunner.selectorLabels" . | fromYaml)) "matchLabelKeys" (list "pod-template-hash") }}
{{- with $of.topologySpreadConstraints }}
topologySpreadConstraints:
{{- range . }}
{{- if .labelSelector }}
{{ toYaml (list .) }}
{{- else }}
{{ toYaml (list (merge (deepCopy .) $selector)) }}
{{- end }}
{{- end }}
{{- end }}
{{- with $of.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $of.tolerations }}
tolerations: {{- toYaml . | nindent 0 }}
{{- end }}
{{- with $of.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if $of.priorityClassName }}
priorityClassName: {{ $of.priorityClassName }}
{{- else if .root.Values.priorityClass.create }}
priorityClassName: {{ include "taskrunner.priorityClass" .root }}
{{- end }}
{{- end }}

{{/* `settings` as SCHEDULER_… variables. Numbers go through JSON: Helm writes 1000000 as 1e+06. */}}
{{- define "taskrunner.settings" -}}
{{- with .Values.settings }}
{{- if not (and (lt (float64 .retryPeriod) (float64 .renewDeadline)) (lt (float64 .renewDeadline) (float64 .lockTtl))) }}
{{- fail (printf "settings: retryPeriod (%v) < renewDeadline (%v) < lockTtl (%v) must hold, or two replicas could lead." .retryPeriod .renewDeadline .lockTtl) }}
{{- end }}
{{- end }}
{{- range $name, $value := .Values.settings }}
- name: SCHEDULER_{{ $name | snakecase | upper }}
  value: {{ ternary $value (toJson $value) (kindIs "string" $value) | quote }}
{{- end }}
{{- end }}
